"""What task types stand on: the OpenAI protocol, ffmpeg, the local voice. The only place with subprocesses."""
