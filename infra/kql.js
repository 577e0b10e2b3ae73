// Read {"tables": …, "queries": {name: text}} from stdin, and print one line for each fault of a query.
// The tables are those of Application Insights in Log Analytics: https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces
const fs = require("fs");
const path = require("path");

const folder = path.resolve(process.argv[2], "node_modules/@kusto/language-service-next");
require(path.join(folder, "bridge.min.js"));
require(path.join(folder, "Kusto.Language.Bridge.min.js"));

const { Symbols } = Kusto.Language;
const { tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, columns]) => {
  const schema = Object.entries(columns).map(([column, type]) => `${column}: ${type}`);
  return Symbols.TableSymbol.From(`(${schema.join(", ")})`).WithName(name);
});
const globals = Kusto.Language.GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol("logs", symbols));
for (const [name, text] of Object.entries(queries)) {
  const found = Kusto.Language.KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  for (let i = 0; i < found.Count; i++) {
    const fault = found.getItem(i);
    console.log(`${name}: ${fault.Message} at ${text.slice(fault.Start, fault.Start + 40).replace(/\s+/g, " ")}`);
  }
}
