// Shows what speaks against the picture while somebody looks into the camera; then enrolls or verifies, with the steps of
// a challenge where it is asked for or required.
import { available, open, shoot } from "./camera.js";

const LOOK_EVERY_MS = 700;
const FRAMES = { verify: 3, enroll: 1 };
const BETWEEN_FRAMES_MS = 200;
const COUNTED_S = 3;

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
const live = document.getElementById("live");
const steps = document.getElementById("steps");
const count = document.getElementById("count");

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

// what a problem, or a quality, asks of the person; a reason may be about one picture of a challenge
const told = ({ frame, text }) => (Number.isInteger(frame) ? `${frame + 1}: ${text}` : text);
const asked = (data) => (data.details?.length ? [...new Set(data.details.map(told))].join(", ") : data.detail);

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

async function still() {
  const pictures = [await shoot(video)];
  while (pictures.length < FRAMES[purpose()]) {
    await wait(BETWEEN_FRAMES_MS);
    pictures.push(await shoot(video));
  }
  return pictures;
}

// A picture of each step, after a countdown in which the person turns.
async function walked(challenge) {
  const pictures = [];
  steps.max = challenge.steps.length;
  steps.hidden = count.hidden = false;
  try {
    for (const [index, step] of challenge.steps.entries()) {
      steps.value = index;
      guidance.textContent = `${index + 1}/${challenge.steps.length} ${step.text}`;
      for (let left = COUNTED_S; left > 0; left--) {
        count.textContent = left;
        await wait(1000);
      }
      pictures.push(await shoot(video));
    }
  } finally {
    steps.hidden = count.hidden = true;
    guidance.textContent = "";
  }
  return pictures;
}

const refusal = (data) => `${asked(data)} (${data.code})`;

function outcome(data) {
  const words = [data.decision ? says[data.decision] : says.enrolled, ...(data.warnings ?? [])];
  if (data.live) words.push(data.live === "yes" ? says.live : data.live_reasons.map(told).join(", "));
  return words.join(" ");
}

async function send() {
  const fields = { subject_id: subject.value.trim() };
  let pictures;
  if (live.checked) {
    const { ok, data } = await call("challenges", { purpose: purpose(), ...fields }, []);
    if (!ok) return refusal(data);
    pictures = await walked(data);
    Object.assign(fields, { challenge_id: data.challenge_id, nonce: data.nonce });
  } else {
    pictures = await still();
  }
  const { ok, data } = await call(purpose(), fields, pictures);
  if (data.code === "challenge_required" && !live.checked) {
    live.checked = true;
    return send();
  }
  return ok ? outcome(data) : refusal(data);
}

opens.addEventListener("click", async () => {
  try {
    if (!available()) throw new Error("no camera");
    await open(video);
    sends.disabled = false;
    sends.focus();
    opens.hidden = true;
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
  if (document.activeElement === document.body) sends.focus(); // it had the focus, and lost it while it was disabled
});
