"""What commands print with `--json`: the shape of each, as types with the meaning of every key.

Belongs here: the types of outputs, and their JSON Schema. A test validates what every command
prints.
Does not: making the values, which is the task of the rooms that the commands call.
Start with `output_schema.output_schema`.
"""
