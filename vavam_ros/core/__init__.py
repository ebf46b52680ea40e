"""The pure core: no ROS import, no clock, no thread, no global device. Start reading at `pipeline.py`; the folders are the way of the data.

    camera/ → tokenizer/ → history/ → model/ → planning/ → geometry.py        artifact/ and upstream/: where models come from
"""
