"""What happens when things break: crashes, freezes, full disks, dead upstreams."""
