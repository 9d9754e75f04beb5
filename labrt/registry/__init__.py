"""(described by its own module docs)"""
