"""Road networks from seeds, and routes through them."""

from vavam_world.roads.build import build_map
from vavam_world.roads.route import plan_route

__all__ = ["build_map", "plan_route"]
