"""The pip build. Name, version, executables and dependencies are read from package.xml, which colcon's build reads too."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from setuptools import find_packages, setup

package = ET.parse(Path(__file__).resolve().parent / "package.xml").getroot()
executables = package.findall("export/executable")

setup(
    name=package.findtext("name"),
    version=package.findtext("version"),
    description=package.findtext("description"),
    license=package.findtext("license"),
    python_requires=">=3.10",
    package_dir={"": "."},  # spelled out: makes an editable install one .pth line to this folder, beside which the messages are found
    packages=find_packages(include=["vavam_ros", "vavam_ros.*"]),
    include_package_data=True,
    install_requires=[requirement.text for requirement in package.findall("export/pip")],
    entry_points={"console_scripts": [f"{e.get('name')} = {e.get('module')}:main" for e in executables]},
)
