"""Overlapping counts, as reported, into exclusive buckets.

Nothing is invented and nothing is lost: the buckets of each side add up to the total of that side. Where a
part is reported as larger than what contains it, it is cut down to that and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pricing.usage import Usage


@dataclass(slots=True)
class Overlapping:
    """One pass as a provider reports it: totals that contain their parts. Tokens."""

    input: int = 0
    """All that was read, the parts below included."""
    cached: int = 0
    written: int = 0
    """All cache writes, those with a longer time to live included."""
    written_1h: int = 0
    written_12h: int = 0
    input_audio: int = 0
    """Audio read, cached audio included; likewise image and video."""
    input_image: int = 0
    input_video: int = 0
    cached_audio: int = 0
    """Part of ``cached``."""
    cached_image: int = 0
    output: int = 0
    """All that was produced, the parts below included."""
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    web_searches: int = 0
    notes: dict[str, None] = field(default_factory=dict)

    def exclusive(self) -> Usage:
        """The buckets. Notes what had to be cut down."""
        reasoning = self.reasoning and self._at_most(self.reasoning, self.output, "reasoning_over_output")
        left = self.output - reasoning
        audio = self.output_audio and self._at_most(self.output_audio, left, "audio_over_output")
        left -= audio
        image = self.output_image and self._at_most(self.output_image, left, "image_over_output")
        return self._usage(reasoning, audio, image)

    def _usage(self, reasoning: int, output_audio: int, output_image: int) -> Usage:
        cached = self._at_most(self.cached, self.input, "cached_over_input")
        written = self._at_most(self.written, self.input - cached, "cache_write_over_input")
        media = self.input_audio or self.input_image or self.input_video
        if not (written or media or self.cached_audio or self.cached_image):  # nearly always
            return Usage(
                input=self.input - cached,
                cache_read=cached,
                output=self.output - reasoning - output_audio - output_image,
                reasoning=reasoning,
                output_audio=output_audio,
                output_image=output_image,
                web_searches=self.web_searches,
            )
        written_12h = min(self.written_12h, written)
        written_1h = min(self.written_1h, written - written_12h)
        cached_audio = min(self.cached_audio, cached)
        cached_image = min(self.cached_image, cached - cached_audio)
        fresh = self.input - cached - written
        audio = max(0, self.input_audio - cached_audio)
        image = max(0, self.input_image - cached_image)
        video = min(self.input_video, fresh)
        # more media than is left after the cache: then it is the media that was cached, though nobody says so
        image_over = max(0, image - (fresh - video))
        audio_over = max(0, audio - (fresh - video - (image - image_over)))
        plain_cached = cached - cached_audio - cached_image
        moved_image = min(image_over, plain_cached)
        moved_audio = min(audio_over, plain_cached - moved_image)
        return Usage(
            input=fresh - video - (image - image_over) - (audio - audio_over),
            cache_read=plain_cached - moved_image - moved_audio,
            cache_write=written - written_1h - written_12h,
            cache_write_1h=written_1h,
            cache_write_12h=written_12h,
            input_audio=audio - audio_over,
            input_image=image - image_over,
            input_video=video,
            cache_read_audio=cached_audio + moved_audio,
            cache_read_image=cached_image + moved_image,
            output=self.output - reasoning - output_audio - output_image,
            reasoning=reasoning,
            output_audio=output_audio,
            output_image=output_image,
            web_searches=self.web_searches,
        )

    def _at_most(self, part: int, whole: int, note: str) -> int:
        if part > whole:
            self.notes[note] = None
            return whole
        return part
