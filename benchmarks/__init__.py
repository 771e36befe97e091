"""Speed and memory of sublax beside transformers and peft, and beside what the machine can do."""
