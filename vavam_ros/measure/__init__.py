"""What running nodes cost: stage times of their pictures, processor time and memory of their processes, and the trend of both. Without ROS or torch."""
