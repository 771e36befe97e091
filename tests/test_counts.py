"""What compiled programs do, counted from their text: operations, bytes, collectives."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from sublax.parallel.mesh import make_mesh
from sublax.planning.collectives import Collective, groups_of
from sublax.planning.counts import count


def counted(function, *shapes, unknown_trips=1):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return count(jax.jit(function).lower(*given).compile().as_text(), unknown_trips)


def test_a_product_is_two_operations_an_entry_and_term():
    assert counted(lambda a, b: a @ b, (8, 16), (16, 32)).flops == 2 * 8 * 16 * 32


def layers(x, kernels):
    return jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]


def test_a_scan_counts_every_layer_forward_and_backward():
    forward = counted(layers, (8, 64), (28, 64, 64)).flops
    assert forward == 28 * 2 * 8 * 64 * 64
    both = counted(jax.grad(lambda x, k: layers(x, k).sum(), (0, 1)), (8, 64), (28, 64, 64))
    assert both.flops == 3 * forward


def test_a_loop_within_a_loop_counts_as_often_as_it_runs():
    def repeated(x, kernels):
        return jax.lax.scan(lambda x, _: (layers(x, kernels), None), x, None, 5)[0]

    assert counted(repeated, (8, 64), (3, 64, 64)).flops == 15 * 2 * 8 * 64 * 64


def test_a_loop_that_ends_when_the_data_says_counts_as_often_as_it_is_told():
    def until_small(x, kernel):
        return jax.lax.while_loop(lambda x: x.sum() > 1.0, lambda x: x @ kernel, x)

    assert counted(until_small, (8, 64), (64, 64), unknown_trips=7).flops == 7 * 2 * 8 * 64 * 64


def test_a_scan_reads_each_layer_once_and_not_all_of_them_every_time():
    """A loop's body names the whole stack that it takes a slice of."""
    L, D = 64, 256
    moved = counted(layers, (8, D), (L, D, D)).bytes
    once = 4 * L * D * D
    assert once < moved < 4 * once  # a slice is written too, and read by the product


def test_of_a_table_the_rows_that_are_looked_up_are_read():
    tokens = jax.ShapeDtypeStruct((16,), jnp.int32)
    table = jax.ShapeDtypeStruct((100_000, 64), jnp.float32)
    looked_up = jax.jit(lambda table, tokens: jnp.tanh(table[tokens])).lower(table, tokens)
    assert count(looked_up.compile().as_text(), 1).bytes < 10 * 4 * 16 * 64


def test_collectives_are_counted_by_kind_on_each_device():
    mesh = make_mesh({"fsdp": 8})

    def lay(shape, *axes):
        return jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*axes))
        )

    whole = NamedSharding(mesh, PartitionSpec())
    total = jax.jit(lambda x: x.sum(axis=0), out_shardings=whole)
    counts = count(total.lower(lay((64, 1024), "fsdp")).compile().as_text(), 1)
    assert counts.of_kind() == {"all-reduce": {"times": 1.0, "bytes": 4096.0}}

    def deep(x, kernels):
        return layers(x, jax.lax.with_sharding_constraint(kernels, whole))

    shapes = lay((8, 64)), lay((28, 64, 64), None, "fsdp")
    counts = count(jax.jit(deep).lower(*shapes).compile().as_text(), 1)
    (gathered,) = counts.collectives
    assert gathered == Collective("all-gather", 4 * 28 * 64**2, 1.0, in_loop=False, devices=8)


# A product, and a loop that XLA has unrolled by two, as they stand in a TPU's program.
ON_TPU = """\
HloModule jit_f
%body (p.1: (s32[], bf16[64,128], bf16[128,128])) -> (s32[], bf16[64,128], bf16[128,128]) {
  %p.1 = (s32[]{:T(128)}, bf16[64,128]{1,0:T(8,128)(2,1)}, bf16[128,128]{1,0}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  %x.1 = bf16[64,128]{1,0:T(8,128)(2,1)} get-tuple-element(%p.1), index=1
  %w.1 = bf16[128,128]{1,0:T(8,128)(2,1)} get-tuple-element(%p.1), index=2
  %two = s32[]{:T(128)} constant(2)
  %next = s32[]{:T(128)} add(%i.1, %two)
  %y.1 = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} convolution(%x.1, %w.1), dim_labels=bf_io->bf
  %y.2 = bf16[64,128]{1,0:T(8,128)(2,1)} convolution(%y.1, %w.1), dim_labels=bf_io->bf
  ROOT %t.1 = (s32[], bf16[64,128], bf16[128,128]) tuple(%next, %y.2, %w.1)
}

%condition (p.2: (s32[], bf16[64,128], bf16[128,128])) -> pred[] {
  %p.2 = (s32[], bf16[64,128], bf16[128,128]) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%p.2), index=0
  %end = s32[]{:T(128)} constant(8)
  ROOT %lt = pred[]{:T(512)} compare(%i.2, %end), direction=LT
}

ENTRY %main (x: bf16[64,128], w: bf16[128,128]) -> bf16[64,128] {
  %x = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[128,128]{1,0:T(8,128)(2,1)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %t.0 = (s32[], bf16[64,128], bf16[128,128]) tuple(%zero, %x, %w)
  %loop = (s32[], bf16[64,128], bf16[128,128]) while(%t.0), condition=%condition, body=%body
  ROOT %out = bf16[64,128]{1,0:T(8,128)(2,1)} get-tuple-element(%loop), index=1
}
"""


def test_a_tpu_s_program_is_read_too():
    counts = count(ON_TPU, 1)
    assert counts.flops == 4 * 2 * (2 * 64 * 128 * 128)
    # What stays in the memory on the chip, S(1), is not moved.
    in_loop = 2 * (2 * 64 * 128 + 2 * 128 * 128) + 12  # the counter's three numbers too
    assert counts.bytes == 4 * in_loop


# A product whose kernel comes through a fusion of its own that only shapes it.
SHAPED_INSIDE = """\
HloModule jit_f
%shaped (p.1: bf16[1,128,256]) -> bf16[128,256] {
  %p.1 = bf16[1,128,256]{2,1,0:T(8,128)(2,1)} parameter(0)
  ROOT %b.1 = bf16[128,256]{1,0:T(8,128)(2,1)} bitcast(%p.1)
}

%product (p.2: bf16[64,128], p.3: bf16[1,128,256]) -> bf16[64,256] {
  %p.2 = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %p.3 = bf16[1,128,256]{2,1,0:T(8,128)(2,1)} parameter(1)
  %w.2 = bf16[128,256]{1,0:T(8,128)(2,1)} fusion(%p.3), kind=kLoop, calls=%shaped
  ROOT %y.2 = bf16[64,256]{1,0:T(8,128)(2,1)} convolution(%p.2, %w.2), dim_labels=bf_io->bf
}

ENTRY %main (x: bf16[64,128], w: bf16[1,128,256]) -> bf16[64,256] {
  %x = bf16[64,128]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[1,128,256]{2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %y = bf16[64,256]{1,0:T(8,128)(2,1)} fusion(%x, %w), kind=kOutput, calls=%product
}
"""


def test_a_kernel_that_is_shaped_on_its_way_into_a_product_is_read():
    assert count(SHAPED_INSIDE, 1).bytes == 2 * (64 * 128 + 128 * 256 + 64 * 256)


# A sum that stays in the slice and is cut, one that leaves it, and a gather beside a product.
OF_TWO_SLICES = """\
HloModule jit_f, num_partitions=4
%all-reduce-scatter.1 (p.1: f32[64,128]) -> f32[16,128] {
  %p.1 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %sum.1 = f32[64,128]{1,0:T(8,128)} all-reduce(%p.1), channel_id=5, replica_groups={{0,1,2,3}}
  %zero.1 = s32[]{:T(128)} constant(0)
  ROOT %own = f32[16,128]{1,0:T(8,128)} dynamic-slice(%sum.1, %zero.1, %zero.1)
}

%starts (p.2: f32[16,128]) -> (f32[16,128], f32[64,128]) {
  %p.2 = f32[16,128]{1,0:T(8,128)} parameter(0)
  %g.2 = f32[64,128]{1,0:T(8,128)S(1)} all-gather(%p.2), channel_id=9, \
replica_groups={{0,1,2,3}}, backend_config={"async_collective_fusion_config":{"flag_start":"-1"}}
  ROOT %s.2 = (f32[16,128], f32[64,128]) custom-call(%g.2), \
custom_call_target="AsyncCollectiveStart"
}

%goes_on (p.3: f32[16,128]) -> f32[64,128] {
  %p.3 = f32[16,128]{1,0:T(8,128)} parameter(0)
  ROOT %g.3 = f32[64,128]{1,0:T(8,128)S(1)} all-gather(%p.3), channel_id=9, \
replica_groups={{0,1,2,3}}, backend_config={"async_collective_fusion_config":{"flag_start":"2"}}
}

ENTRY %main (x: f32[64,128]) -> f32[64,128] {
  %x = f32[64,128]{1,0:T(8,128)} parameter(0)
  %part = f32[16,128]{1,0:T(8,128)} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
  %token = token[] after-all()
  %send = (f32[16,128]{1,0:T(8,128)}, u32[], token[]) send(%part, %token), channel_id=2, \
frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",\
_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv = (f32[16,128]{1,0:T(8,128)}, u32[], token[]) recv(%token), channel_id=1, \
frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
  %start = (f32[16,128], f32[64,128]) fusion(%part), kind=kCustom, calls=%starts
  ROOT %done = f32[64,128]{1,0:T(8,128)} fusion(%part), kind=kCustom, calls=%goes_on
}
"""


def test_what_a_tpu_fuses_and_sends_to_other_slices_is_counted_once_each():
    whole, part = 4 * 64 * 128, 4 * 16 * 128
    assert count(OF_TWO_SLICES, 1, per_slice=4).collectives == [
        Collective("reduce-scatter", whole, 1.0, in_loop=False, devices=4),
        Collective("all-reduce", part, 1.0, in_loop=False, devices=2, crosses=True),
        Collective("all-gather", whole, 1.0, in_loop=False, devices=4),
    ]
    summed, sent, gathered = whole + part, 2 * part, part + whole
    assert count(OF_TWO_SLICES, 1, per_slice=4).bytes == summed + sent + gathered


@pytest.mark.parametrize(
    "kind, received", [("all-gather", 75), ("reduce-scatter", 75), ("all-reduce", 150)]
)
def test_what_a_device_has_already_it_is_not_sent(kind, received):
    """Of an array in four parts three are the others'; a sum is made of them, and handed out."""
    assert Collective(kind, 100, 1.0, in_loop=False, devices=4).received == received


@pytest.mark.parametrize("axes, crosses", [(("data",), True), (("fsdp",), False)])
def test_slices_are_crossed_along_data_alone(axes, crosses):
    mesh = make_mesh({"data": 2, "fsdp": 4}, slices=2)
    given = jax.ShapeDtypeStruct(
        (64, 128), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(axes))
    )
    whole = NamedSharding(mesh, PartitionSpec())
    program = jax.jit(lambda x: x.sum(axis=0), out_shardings=whole).lower(given).compile()
    counts = count(program.as_text(), 1, per_slice=4)
    assert [one.crosses for one in counts.collectives] == [crosses]
    assert bool(counts.of_kind(crossing=True)) == crosses


@pytest.mark.parametrize(
    "written, groups",
    [
        ("replica_groups={{0,2},{1,3}}", [[0, 2], [1, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(0,3,1,2) {'b'}", [[0, 3], [1, 2]]),
        ("replica_groups={}", [[0, 1, 2, 3]]),
        ("source_target_pairs={{0,2},{1,3}}", [[0, 2], [1, 3]]),
    ],
)
def test_groups_of_devices_are_read_in_every_way_that_xla_writes_them(written, groups):
    assert groups_of(f", channel_id=1, {written}, dimensions={{0}}", 4) == groups
