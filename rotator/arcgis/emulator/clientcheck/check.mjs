// Runs Esri's JavaScript client against an emulated portal and exits with 1 at the first thing that is wrong.
//
//   KEYTURN_PORTAL_URL   https://host/sharing/rest of the emulated portal (never a real one: items are deleted)
//   KEYTURN_RESOURCE_URL its /emulator/resource
//   KEYTURN_USERNAME, KEYTURN_PASSWORD
//   KEYTURN_CREDENTIALS_MODULE  optional: the module with createApiKey and the others

import assert from "node:assert/strict";
import { ArcGISIdentityManager, ApiKeyManager, ApplicationCredentialsManager, request } from "@esri/arcgis-rest-request";
import {
  createFolder, createItem, getItem, getPortal, getSelf, getUserContent, moveItem, protectItem, removeFolder,
  removeItem, searchItems, unprotectItem, updateItem
} from "@esri/arcgis-rest-portal";

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set`);
const portal = env("KEYTURN_PORTAL_URL");
const username = env("KEYTURN_USERNAME");
const module = process.env.KEYTURN_CREDENTIALS_MODULE || "./credentials.mjs";
const { createApiKey, getApiKey, updateApiKey, invalidateApiKey } = await import(module);

const day = 24 * 60 * 60 * 1000;
const wholeSecond = (date) => Math.floor(date.getTime() / 1000) * 1000;

async function opens(key) {
  const answer = await fetch(env("KEYTURN_RESOURCE_URL"), { headers: { Authorization: `Bearer ${key}` } });
  assert.ok(answer.status === 200 || answer.status === 401, `the resource answers ${answer.status}`);
  return answer.status === 200 ? answer.json() : undefined;
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("nothing was refused");
}

const steps = {
  async "signing in, and being refused"() {
    const error = await refusal(ArcGISIdentityManager.signIn({ username, password: "wrong", portal }));
    assert.match(error.message, /Unable to generate token/);
    this.authentication = await ArcGISIdentityManager.signIn({ username, password: env("KEYTURN_PASSWORD"), portal });
    assert.equal(await this.authentication.getUsername(), username);
    const user = await this.authentication.getUser();
    assert.equal(user.username, username);
  },

  async "self, with and without a token"() {
    const { authentication } = this;
    assert.equal((await getSelf({ authentication })).user.username, username);
    assert.equal((await getPortal(null, { portal })).user, undefined);
  },

  async "items and folders"() {
    const { authentication } = this;
    const added = await createItem({ authentication, item: { title: "Plain item", type: "Application", tags: ["one", "two"] } });
    assert.equal(added.success, true);
    await updateItem({ authentication, item: { id: added.id, snippet: "short", properties: { marker: "m" } } });
    const item = await getItem(added.id, { authentication });
    assert.deepEqual(item.tags, ["one", "two"]);
    assert.equal(item.snippet, "short");
    assert.equal(item.properties.marker, "m");
    const { folder } = await createFolder({ authentication, title: "Folder of the check" });
    const moved = await moveItem({ authentication, itemId: added.id, folderId: folder.id });
    assert.equal(moved.folder, folder.id);
    const content = await getUserContent({ authentication, folderId: folder.id });
    assert.deepEqual(content.items.map((i) => i.id), [added.id]);
    const found = await searchItems({ q: `title:"Plain item" AND owner:${username}`, authentication });
    assert.deepEqual(found.results.map((i) => i.id), [added.id]);
    await protectItem({ authentication, id: added.id });
    await refusal(removeItem({ authentication, id: added.id }));
    await unprotectItem({ authentication, id: added.id });
    assert.equal((await removeItem({ authentication, id: added.id })).itemId, added.id);
    const error = await refusal(getItem(added.id, { authentication }));
    assert.equal(error.code, "CONT_0001");
    assert.equal((await removeFolder({ authentication, folderId: folder.id })).success, true);
  },

  async "createApiKey"() {
    const { authentication } = this;
    this.first = new Date(Date.now() + 30 * day);
    const made = await createApiKey({
      title: "Credential of the check", description: "d", snippet: "s", tags: ["check"],
      privileges: ["premium:user:basemaps"], generateToken1: true, apiToken1ExpirationDate: this.first, authentication
    });
    this.itemId = made.itemId;
    this.key = made.accessToken1;
    assert.match(this.key, /^AAPT.*AT1_[A-Za-z0-9]{8}$/);
    assert.equal(made.accessToken2, undefined);
    assert.equal(made.apiToken1Active, true);
    assert.equal(made.apiToken2Active, false);
    assert.equal(made.item.apiToken1ExpirationDate, wholeSecond(this.first));
    assert.equal(made.item.apiToken2ExpirationDate, -1);
    assert.deepEqual(made.privileges, ["premium:user:basemaps"]);
    assert.equal((await opens(this.key)).itemId, this.itemId);
  },

  async "getApiKey"() {
    const got = await getApiKey({ itemId: this.itemId, authentication: this.authentication });
    assert.equal(got.apiToken1Active, true);
    assert.equal(got.item.title, "Credential of the check");
    assert.equal(got.accessToken1, undefined);
    assert.ok(got.item.typeKeywords.includes("APIToken"));
    assert.ok(!JSON.stringify(got).includes("AAPT"));
  },

  async "the key as a manager of itself"() {
    const session = await ApiKeyManager.fromKey({ key: this.key, portal, username });
    const self = await request(`${portal}/portals/self`, { authentication: session });
    assert.equal(self.appInfo.itemId, this.itemId);
    assert.equal(self.appInfo.expirationDate, wholeSecond(this.first));
  },

  async "updateApiKey, second slot"() {
    const { itemId, authentication } = this;
    const second = new Date(Date.now() + 60 * day);
    const updated = await updateApiKey({ itemId, authentication, generateToken2: true, apiToken2ExpirationDate: second });
    this.second = updated.accessToken2;
    assert.match(this.second, /AT2_[A-Za-z0-9]{8}$/);
    assert.equal(updated.item.apiToken1ExpirationDate, wholeSecond(this.first));
    assert.equal(updated.item.apiToken2ExpirationDate, wholeSecond(second));
    assert.equal((await opens(this.key)).slot, 1);
    assert.equal((await opens(this.second)).slot, 2);
  },

  async "invalidateApiKey"() {
    const { itemId, authentication } = this;
    assert.equal((await invalidateApiKey({ itemId, authentication, apiKey: this.key })).success, true);
    assert.equal(await opens(this.key), undefined);
    assert.equal((await opens(this.second)).slot, 2);
    const got = await getApiKey({ itemId, authentication });
    assert.equal(got.apiToken1Active, false);
    assert.equal(got.apiToken2Active, true);
    const session = await ApiKeyManager.fromKey({ key: this.key, portal, username });
    const error = await refusal(request(`${portal}/portals/self`, { authentication: session }));
    assert.equal(error.name, "ArcGISAuthError");
  },

  async "updateApiKey, privileges"() {
    const { itemId, authentication } = this;
    const updated = await updateApiKey({ itemId, authentication, privileges: ["premium:user:places"], generateToken1: true });
    assert.deepEqual(updated.privileges, ["premium:user:places"]);
    assert.equal(await opens(this.second), undefined);
    assert.equal(updated.apiToken2Active, false);
    assert.equal((await opens(updated.accessToken1)).slot, 1);
    this.key = updated.accessToken1;
  },

  async "an app token is not a key"() {
    const { itemId, authentication } = this;
    const app = await request(`${portal}/content/users/${username}/items/${itemId}/registeredAppInfo`, { authentication });
    const session = new ApplicationCredentialsManager({ clientId: app.client_id, clientSecret: app.client_secret, portal });
    const token = await session.getToken(portal);
    assert.ok(!token.startsWith("AAPT"));
    assert.equal(await opens(token), undefined);
    assert.equal((await opens(this.key)).slot, 1);
  },

  async "removing the credential"() {
    const { itemId, authentication } = this;
    assert.equal((await removeItem({ authentication, id: itemId })).success, true);
    assert.equal(await opens(this.key), undefined);
    await refusal(getApiKey({ itemId, authentication }));
    assert.equal((await authentication.signOut()).success, true);
  }
};

const state = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    await step.call(state);
  } catch (error) {
    console.error(`not ok: ${name}`);
    console.error(error);
    process.exit(1);
  }
  console.log(`ok: ${name}`);
}
console.log(`${Object.keys(steps).length} steps with ${module}`);
