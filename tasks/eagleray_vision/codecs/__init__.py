"""Codecs of feature vectors: fitted on a sample, a fixed number of bytes per vector."""

from eagleray_vision.codecs.codec import Codec, CodecError, Codes, transcode
from eagleray_vision.codecs.fitting import codec_of_json, fit_codec
from eagleray_vision.codecs.report import CodecReport, measure_codec
from eagleray_vision.codecs.spec import CodecSpec, parse_codec

__all__ = [
    "Codec",
    "CodecError",
    "CodecReport",
    "CodecSpec",
    "Codes",
    "codec_of_json",
    "fit_codec",
    "measure_codec",
    "parse_codec",
    "transcode",
]
