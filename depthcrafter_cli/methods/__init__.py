"""Methods: what turns the frames of a video into disparity. To add one, see ``registry``."""
