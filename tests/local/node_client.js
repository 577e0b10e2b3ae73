// Call the Azure DevOps at an address with Microsoft's Node client, and print what it read as JSON.
const api = require("azure-devops-node-api");
const { ReleaseDefinitionExpands, ReleaseExpands } = require("azure-devops-node-api/interfaces/ReleaseInterfaces");

async function main(url) {
  const connection = new api.WebApi(url, api.getPersonalAccessTokenHandler("a token"));
  const since = new Date(Date.now() - 60000);

  const releases = await connection.getReleaseApi();
  const { Artifacts, Variables } = ReleaseDefinitionExpands;
  const definitions = await releases.getReleaseDefinitions("fraud", undefined, Artifacts | Variables);
  const definition = await releases.getReleaseDefinition("fraud", definitions[0].id);
  const versions = await releases.getArtifactVersions("fraud", definition.id);
  const latest = versions.artifactVersions[0].defaultVersion;
  const start = {
    definitionId: definition.id,
    description: "by Node",
    artifacts: [{ alias: versions.artifactVersions[0].alias, instanceReference: latest }],
    variables: { ModelVersion: { value: latest.name } },
  };
  const created = await releases.createRelease(start, "fraud");
  const filters = [definition.id, ...Array(5), since, ...Array(4)];
  const listed = await releases.getReleases("fraud", ...filters, ReleaseExpands.Artifacts, "AzureMLMMS");
  const release = await releases.getRelease("fraud", created.id);

  const pipelines = await connection.getPipelinesApi();
  const names = await pipelines.listPipelines("growth");
  const pipeline = await pipelines.getPipeline("growth", names[0].id);
  const templateParameters = { modelName: "churn", modelVersion: "3" };
  const refused = await pipelines.runPipeline({ templateParameters, stagesToSkip: ["Tset"] }, "growth", pipeline.id).then(
    () => "",
    (error) => `${error.statusCode} ${error.message}`,
  );
  const previewed = await pipelines.preview({ templateParameters, previewRun: true }, "growth", pipeline.id);
  const started = await pipelines.runPipeline({ templateParameters }, "growth", pipeline.id);
  const run = await pipelines.getRun("growth", pipeline.id, started.id);

  const builds = await (await connection.getBuildApi()).getBuilds("growth", [pipeline.id], ...Array(2), since);
  return {
    definitions, definition, latest, created, listed, release, names, pipeline, refused, previewed, started, run, builds,
  };
}

main(process.argv[2]).then(
  (read) => console.log(JSON.stringify(read)),
  (error) => { console.error(error); process.exit(1); },
);
