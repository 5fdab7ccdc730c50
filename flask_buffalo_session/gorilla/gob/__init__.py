"""The wire format of Go's encoding/gob: types, and values of them.

Written from https://pkg.go.dev/encoding/gob. This package knows no session, and not
the Python values that a view sees. It turns Go values into *wire values*, whose form
depends on the Go type:

=============================  ========================================
bool, int, uint, float,        ``bool``, ``int``, ``int``, ``float``,
complex, string, bytes         ``complex``, ``str``, ``bytes``
slice, array                   ``list``
map                            ``list`` of pairs
struct                         ``dict`` by field, omitted where Go omits
gob, binary, text              ``bytes`` that the Go type itself wrote
interface                      :class:`Boxed` or ``None``
=============================  ========================================

A Go string may hold any bytes. Bytes that are not UTF-8 become lone surrogates.
"""
