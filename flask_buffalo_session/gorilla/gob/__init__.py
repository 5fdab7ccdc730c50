"""The wire format of Go's encoding/gob: types, and values of them.

Written from https://pkg.go.dev/encoding/gob. Knows no session and none of the
Python values that a view sees: a Go value is here in its plain form, which depends
on its type:

=============================  ========================================
bool, int, uint, float,        ``bool``, ``int``, ``int``, ``float``,
complex, string, bytes         ``complex``, ``str``, ``bytes``
slice, array                   ``list``
map                            ``list`` of pairs
struct                         ``dict`` by field, omitted where Go omits
gob, binary, text              ``bytes`` that the type itself has written
interface                      :class:`Boxed` or ``None``
=============================  ========================================

A str is UTF-8, and bytes in it that are none are kept as lone surrogates, since a
Go string may hold any bytes.
"""
