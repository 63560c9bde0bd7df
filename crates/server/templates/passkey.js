// Makes passkeys and signs in by them: browsers do that by script alone.
"use strict";

function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (char) => char.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function begin(form) {
  const answer = await fetch(form.dataset.begin, {
    method: "POST",
    body: new URLSearchParams({ token: form.dataset.token }),
    redirect: "error",
    credentials: "same-origin",
  });
  const json = (answer.headers.get("content-type") ?? "").includes("json");
  if (!json) throw new Error("sign in again, then try again.");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

function send(form, fields) {
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = name;
    field.value = value;
    form.append(field);
  }
  form.submit();
}

async function signIn(form) {
  const wanted = await begin(form);
  const credential = await navigator.credentials.get({ publicKey: {
    challenge: bytes(wanted.challenge),
    rpId: wanted.rp_id,
    timeout: wanted.timeout_ms,
    userVerification: "required",
  } });
  const answer = credential.response;
  send(form, {
    client_data: text(answer.clientDataJSON),
    authenticator_data: text(answer.authenticatorData),
    credential: text(credential.rawId),
    signature: text(answer.signature),
    user_handle: text(answer.userHandle ?? new ArrayBuffer(0)),
  });
}

async function add(form) {
  const wanted = await begin(form);
  const credential = await navigator.credentials.create({ publicKey: {
    challenge: bytes(wanted.challenge),
    rp: { id: wanted.rp_id, name: "Suture" },
    user: { id: bytes(wanted.user_id), name: wanted.user_name, displayName: wanted.user_name },
    pubKeyCredParams: wanted.algorithms.map((alg) => ({ type: "public-key", alg })),
    excludeCredentials: wanted.exclude.map((id) => ({ type: "public-key", id: bytes(id) })),
    authenticatorSelection: {
      residentKey: "required", requireResidentKey: true, userVerification: "required",
    },
    attestation: "none",
    timeout: wanted.timeout_ms,
  } });
  const answer = credential.response;
  send(form, {
    client_data: text(answer.clientDataJSON),
    authenticator_data: text(answer.getAuthenticatorData()),
    credential: text(credential.rawId),
    algorithm: String(answer.getPublicKeyAlgorithm()),
    public_key: text(answer.getPublicKey()),
  });
}

function words(error) {
  switch (error.name) {
    case "NotAllowedError": return "No passkey was used. Try again when you like.";
    case "InvalidStateError": return "This device has a passkey for the account already.";
    default: return `This did not work: ${error.message}`;
  }
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-begin]")) {
    const trouble = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      trouble.textContent = "";
      try {
        await (form.dataset.does === "add" ? add(form) : signIn(form));
      } catch (error) {
        trouble.textContent = words(error);
      }
    });
  }
}
