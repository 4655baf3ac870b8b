"""The language's grammar, as package data (`optdsl.lark`)."""
