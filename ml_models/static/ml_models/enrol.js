// Puts a picture from the camera into the form's file. Without a camera, or without scripts, a file is chosen.
import { available, close, open, shoot } from "./camera.js";

const form = document.getElementById("enrol");
const box = form.querySelector("[data-camera]");
const video = box.querySelector("video");
const says = box.querySelector("[data-says]");
const opens = box.querySelector("[data-open]");
const shoots = box.querySelector("[data-shoot]");

opens.addEventListener("click", async () => {
  try {
    video.hidden = false;
    await open(video);
    opens.hidden = true;
    shoots.hidden = false;
    shoots.focus();
    says.textContent = "";
  } catch {
    video.hidden = true;
    says.textContent = "The camera cannot be used. Allow it in the browser, or choose a file.";
  }
});

shoots.addEventListener("click", async () => {
  const files = new DataTransfer();
  files.items.add(new File([await shoot(video)], "camera.jpg", { type: "image/jpeg" }));
  form.elements.image.files = files.files;
  close(video);
  video.hidden = true;
  opens.hidden = false;
  opens.focus();
  shoots.hidden = true;
  says.textContent = "The picture is taken. Enrol it, or take another one.";
});

box.hidden = !available();
