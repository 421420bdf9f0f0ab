"""What ``eagleray new NAME`` copies: whole small tasks, typed and tested where they stand.

A template is a package with relative imports. Beside its modules it has ``project/``, which becomes
the folder around the package. ``my_task`` and ``MyTask`` in any file become the new name; the
suffix ``.txt`` of a Python file keeps it from being read as a module here, and goes.
"""
