// The calls of Esri's developer-credentials package, in its order and with its parameters, on top of Esri's
// request and portal packages. The package itself is used instead when KEYTURN_CREDENTIALS_MODULE names it:
//
//   npm install --no-save @esri/arcgis-rest-developer-credentials
//   KEYTURN_CREDENTIALS_MODULE=@esri/arcgis-rest-developer-credentials node check.mjs

import { request } from "@esri/arcgis-rest-request";
import { createItem, getItem, getPortalUrl, updateItem } from "@esri/arcgis-rest-portal";

export function slotForKey(key) {
  const digit = Number(key.at(-10));
  return digit === 1 || digit === 2 ? digit : undefined;
}

async function appInfo({ itemId, authentication }) {
  const user = await authentication.getUsername();
  const url = `${getPortalUrl({ authentication })}/content/users/${user}/items/${itemId}/registeredAppInfo`;
  return request(url, { authentication, httpMethod: "POST", params: { f: "json" } });
}

// Client id and secret are all the authentication that a generation or a revocation has.
async function bySecret(path, { itemId, authentication }, slot) {
  const app = await appInfo({ itemId, authentication });
  return request(`${getPortalUrl({ authentication })}/oauth2/${path}`, {
    params: {
      client_id: app.client_id,
      client_secret: app.client_secret,
      apiToken: slot,
      regenerateApiToken: true,
      grant_type: "client_credentials"
    }
  });
}

async function generate(options) {
  const slots = [1, 2].filter((slot) => options[`generateToken${slot}`]);
  const tokens = await Promise.all(slots.map((slot) => bySecret("token", options, slot)));
  return Object.fromEntries(tokens.map((t) => [`accessToken${slotForKey(t.access_token)}`, t.access_token]));
}

async function described({ itemId, authentication }, item, keys) {
  const { client_secret, redirect_uris, appType, ...app } = await appInfo({ itemId, authentication });
  return { ...keys, ...app, item };
}

function dates(options, otherwise) {
  const found = {};
  for (const name of ["apiToken1ExpirationDate", "apiToken2ExpirationDate"]) {
    if (options[name] || otherwise) found[name] = options[name] || otherwise;
  }
  return found;
}

const read = (itemId, authentication) =>
  getItem(itemId, { authentication, httpMethod: "POST", params: { f: "json" } });

export async function createApiKey(options) {
  const { authentication, title, tags, description, snippet, privileges, httpReferrers = [] } = options;
  const added = await createItem({
    authentication,
    item: { title, tags, description, snippet, type: "Application" },
    params: { f: "json" }
  });
  const registered = await request(`${getPortalUrl({ authentication })}/oauth2/registerApp`, {
    authentication,
    httpMethod: "POST",
    params: {
      f: "json",
      itemId: added.id,
      appType: "multiple",
      redirect_uris: JSON.stringify(["urn:ietf:wg:oauth:2.0:oob"]),
      httpReferrers: JSON.stringify(httpReferrers),
      privileges: JSON.stringify(privileges)
    }
  });
  const itemId = registered.itemId;
  await updateItem({ authentication, item: { id: itemId, ...dates(options, -1) } });
  const item = await read(itemId, authentication);
  const keys = await generate({ ...options, itemId });
  return described({ itemId, authentication }, item, keys);
}

export async function getApiKey({ itemId, authentication }) {
  return described({ itemId, authentication }, await getItem(itemId, { authentication }), {});
}

export async function updateApiKey(options) {
  const { itemId, authentication, privileges, httpReferrers } = options;
  if (options.apiToken1ExpirationDate || options.apiToken2ExpirationDate) {
    await updateItem({ authentication, item: { id: itemId, ...dates(options) } });
  }
  if (privileges || httpReferrers) {
    const app = await appInfo({ itemId, authentication });
    await request(`${getPortalUrl({ authentication })}/oauth2/apps/${app.client_id}/update`, {
      authentication,
      httpMethod: "POST",
      params: {
        f: "json",
        privileges: JSON.stringify(privileges ?? app.privileges),
        httpReferrers: JSON.stringify(httpReferrers ?? app.httpReferrers)
      }
    });
  }
  const item = await read(itemId, authentication);
  const keys = await generate(options);
  return described({ itemId, authentication }, item, keys);
}

export async function invalidateApiKey({ itemId, authentication, apiKey }) {
  const slot = apiKey === 1 || apiKey === 2 ? apiKey : slotForKey(apiKey);
  return bySecret("revokeToken", { itemId, authentication }, slot);
}
