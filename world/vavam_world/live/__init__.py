"""The world driven through live nodes: one launch of the whole system per run."""
