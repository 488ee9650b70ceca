// Shows what speaks against the picture while somebody looks into the camera; then enrolls or verifies.
import { available, open, shoot } from "./camera.js";

const LOOK_EVERY_MS = 700;
const FRAMES = { verify: 3, enroll: 1 };
const BETWEEN_FRAMES_MS = 200;

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const calls = read("calls");
const says = read("says");
const form = document.getElementById("try");
const video = form.querySelector("video");
const guidance = document.getElementById("guidance");
const result = document.getElementById("result");
const opens = document.getElementById("open");
const sends = document.getElementById("send");
const key = document.getElementById("key");
const subject = document.getElementById("subject");

const purpose = () => form.elements.purpose.value;
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// a key alone is one of this service's; a host with another scheme takes the whole header
const authorization = () => (key.value.includes(" ") ? key.value : `Api-Key ${key.value}`).trim();

async function call(name, fields, pictures) {
  const body = new FormData();
  for (const [field, value] of Object.entries(fields)) body.append(field, value);
  for (const picture of pictures) body.append("image", picture, "camera.jpg");
  const headers = { Authorization: authorization() };
  const answer = await fetch(calls[name], { method: "POST", body, headers, credentials: "omit" });
  return { ok: answer.ok, data: await answer.json() };
}

// what a problem, or a quality, asks of the person
const asked = (data) => (data.reasons?.length ? data.reasons.join(", ") : data.detail);

async function look() {
  if (key.value && !sends.disabled) {
    try {
      const { ok, data } = await call("quality", { purpose: purpose() }, [await shoot(video, 640)]);
      guidance.textContent = ok ? asked(data.quality) ?? says.good : asked(data);
    } catch {
      guidance.textContent = says.lost;
    }
  }
  setTimeout(look, LOOK_EVERY_MS);
}

async function send() {
  const pictures = [await shoot(video)];
  while (pictures.length < FRAMES[purpose()]) {
    await wait(BETWEEN_FRAMES_MS);
    pictures.push(await shoot(video));
  }
  const { ok, data } = await call(purpose(), { subject_id: subject.value.trim() }, pictures);
  if (!ok) return `${asked(data)} (${data.code})`;
  return data.decision ? says[data.decision] : [says.enrolled, ...data.warnings].join(" ");
}

opens.addEventListener("click", async () => {
  try {
    if (!available()) throw new Error("no camera");
    await open(video);
    opens.hidden = true;
    sends.disabled = false;
    look();
  } catch {
    guidance.textContent = says.camera;
  }
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  sends.disabled = true;
  result.textContent = "";
  try {
    result.textContent = await send();
  } catch {
    result.textContent = says.lost;
  }
  sends.disabled = false;
});
