// Read the Azure ML at an address with Microsoft's Node client, and print what it read as JSON.
const { AzureMachineLearningWorkspaces } = require("@azure/arm-machinelearning");

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function failure(promise) {
  const words = ({ statusCode, code, details }) => [statusCode, code, details?.error?.details?.[0]?.code];
  return promise.then(() => "", (error) => words(error).filter(Boolean).join(" "));
}

async function main(url, subscription, group, workspace) {
  const credential = { getToken: async () => ({ token: "token", expiresOnTimestamp: Date.now() + 3600000 }) };
  const options = { endpoint: url, allowInsecureConnection: true };
  const client = new AzureMachineLearningWorkspaces(credential, subscription, options);
  // Its own policy sends no token over plain HTTP.
  client.pipeline.removePolicy({ name: "bearerTokenAuthenticationPolicy" });
  client.pipeline.addPolicy({
    name: "token",
    sendRequest: (request, next) => {
      request.headers.set("Authorization", "Bearer token");
      request.allowInsecureConnection = true;
      return next(request);
    },
  });
  const { modelContainers, modelVersions } = client;
  return {
    containers: await all(modelContainers.list(group, workspace)),
    archived: await all(modelContainers.list(group, workspace, { listViewType: "ArchivedOnly" })),
    versions: await all(modelVersions.list(group, workspace, "churn", { orderBy: "createdtime desc" })),
    oldest: await all(modelVersions.list(group, workspace, "churn", { orderBy: "createdtime asc", top: 2 })),
    version: await modelVersions.get(group, workspace, "churn", "7"),
    container: await modelContainers.get(group, workspace, "churn"),
    missing: {
      version: await failure(modelVersions.get(group, workspace, "churn", "99")),
      container: await failure(modelContainers.get(group, workspace, "other")),
      versions: await failure(all(modelVersions.list(group, workspace, "other"))),
      workspace: await failure(all(modelContainers.list(group, "other"))),
    },
  };
}

main(...process.argv.slice(2)).then(
  (read) => console.log(JSON.stringify(read)),
  (error) => { console.error(error); process.exit(1); },
);
