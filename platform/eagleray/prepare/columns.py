"""Records as Parquet and back: plain Arrow columns by the type names of a stage's schema.

No extension types, which only their own library reads, so that any Parquet reader opens the files;
fixed writer options, so that equal records give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eagleray.task import InputError, Record, SettingsError

KEY = "key"
ITEM = "item"
"""Column with the identity of the item that a record came from; stages downstream depend on it."""

ROW_GROUP_BYTES = 16 << 20
"""Uncompressed size of a row group: the piece that readers fetch and keep."""
_OWN_GROUP_BYTES = 512 << 10
"""A row of this size is a row group of its own: who reads a sample, or the share of a rank, would
fetch its neighbors with it, and many small requests cost more than bytes only where rows are small.
"""

_LIST = re.compile(r"(?P<kind>list|large_list)<(?P<inner>.+)>$")
_ALIASES = {
    "string", "large_string", "binary", "large_binary", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
}  # fmt: skip


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type of a name such as ``int32`` or ``list<float32>``.

    Raises:
        SettingsError: No such type.

    Example:
        >>> arrow_type("list<list<int32>>")
        ListType(list<item: list<item: int32>>)
    """
    nested = _LIST.match(name.strip())
    if nested:
        inner = arrow_type(nested["inner"])
        return pa.list_(inner) if nested["kind"] == "list" else pa.large_list(inner)
    if name.strip() not in _ALIASES:
        raise SettingsError(
            f"unknown column type {name!r}: allowed are {', '.join(sorted(_ALIASES))} "
            "and list<...> of them"
        )
    return pa.float16() if name.strip() == "float16" else pa.type_for_alias(name.strip())


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Return the Parquet schema of a stage: ``key``, ``item`` and the stage's own columns.

    Raises:
        SettingsError: A column has a reserved name or an unknown type.
    """
    taken = {KEY, ITEM} & set(columns)
    if taken:
        raise SettingsError(
            f"columns {sorted(taken)} of the schema are the engine's own ('key' holds Record.key): "
            "rename them"
        )
    fields = [pa.field(KEY, pa.string()), pa.field(ITEM, pa.string())]
    return pa.schema(fields + [pa.field(name, arrow_type(kind)) for name, kind in columns.items()])


def to_table(records: Sequence[Record], item_identity: str, schema: pa.Schema) -> pa.Table:
    """Return the records of one item as a table.

    Raises:
        InputError: A record lacks a column, has one too many, or a value that its type cannot hold.
    """
    names = [name for name in schema.names if name not in (KEY, ITEM)]
    for record in records:
        if record.row.keys() != set(names):
            raise InputError(
                f"record {record.key!r} has the columns {sorted(record.row)}, "
                f"the stage's schema says {sorted(names)}"
            )
    columns: dict[str, Any] = {
        KEY: [record.key for record in records],
        ITEM: [item_identity] * len(records),
    }
    for name in names:
        columns[name] = [record.row[name] for record in records]
    arrays = []
    for field in schema:
        try:
            if _holds_integers(field.type):
                _refuse_fractions(columns[field.name])
            arrays.append(pa.array(columns[field.name], type=field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"column {field.name!r} is {field.type}, but cannot hold its value: {error}"
            ) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _holds_integers(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind))


def _refuse_fractions(value: Any) -> None:
    """Raise ValueError for a number with a fraction, which Arrow would cut off silently."""
    if value is None or isinstance(value, int | str | bytes | np.integer):
        return
    try:
        numbers = np.asarray(value)
    except ValueError:  # lists of unequal length
        numbers = np.empty(0, object)
    if numbers.dtype == object or not isinstance(
        value, np.ndarray | list | tuple | float | np.floating
    ):
        for part in value:
            _refuse_fractions(part)
    elif numbers.dtype.kind == "f" and not np.all(numbers == np.floor(numbers)):
        raise ValueError(f"{value} is no integer")


def to_parquet(tables: Sequence[pa.Table], schema: pa.Schema) -> bytes:
    """Return the tables, one below the other, as the bytes of a Parquet file."""
    table = pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()
    per_row = max(1, table.nbytes // max(1, len(table)))
    sink = BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=1 if per_row >= _OWN_GROUP_BYTES else max(1, ROW_GROUP_BYTES // per_row),
        compression="zstd",
        version="2.6",
        data_page_version="1.0",
        use_dictionary=False,
        write_statistics=False,
    )
    return sink.getvalue()


def row_at(table: pa.Table, row_idx: int) -> dict[str, Any]:
    """Return one row without the engine's columns.

    Lists of numbers come back as writable NumPy arrays, everything else as plain Python values.
    """
    return {
        name: _value(table.column(name), row_idx)
        for name in table.column_names
        if name not in (KEY, ITEM)
    }


def _value(column: pa.ChunkedArray, row_idx: int) -> Any:
    scalar = column[row_idx]
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return scalar.as_py()
    numeric = pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    if not numeric or not scalar.is_valid or scalar.values.null_count:
        return scalar.as_py()
    return scalar.values.to_numpy(zero_copy_only=False).copy()
