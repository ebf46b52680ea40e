"""Pictures of the world, through Panda3D without a screen."""
