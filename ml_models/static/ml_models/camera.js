// The camera of a phone or computer, through getUserMedia: only pages on HTTPS or localhost may use it.
"use strict";

export const available = () => Boolean(navigator.mediaDevices?.getUserMedia);

// Shows what the camera sees; fails with a DOMException where nobody allows it, or there is none.
export async function open(video) {
  video.srcObject = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } },
    audio: false,
  });
  await video.play();
}

export function close(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

// What the camera sees now, as a JPEG whose longer side has at most `most` pixels.
export function shoot(video, most = 1280) {
  const scale = Math.min(1, most / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}
