import { agentJsonSchema } from '../../src/agents/file/definition.js'
import { numbersJsonSchema } from '../../src/agents/file/numbers-file.js'
import { timelineSchema } from '../../src/call/documents/call-view.js'
import { handoffSchema } from '../../src/call/documents/handoff.js'
import { journalLineSchema } from '../../src/call/documents/journal.js'
import { learnedTurnsSchema } from '../../src/call/documents/learned-turns.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import { envExample } from '../../src/config/env-example.js'
import { fleetStatusSchema } from '../../src/fleet/fleet-status.js'
import { scenarioReportJsonSchema } from '../../src/simulator/scenarios/report.js'
import { scenarioJsonSchema } from '../../src/simulator/scenarios/scenario.js'
import { agentFilePage } from './agent-keys.js'
import { operationsPage } from './caller-stores-page.js'
import { configurationPage } from './configuration-page.js'
import { balancerFiles, redisFile } from './deploy-lines.js'
import { errorsPage } from './errors-page.js'
import { openSchema } from './open-schema.js'
import { opsApiDocument } from './ops-api.js'
import { modelsPage } from './models-page.js'
import { consolePage } from './rights-table.js'
import { vendorPages } from './vendors-page.js'

/** Documents that are written from the sources, by file in the repository. `npm run documents` writes it. */
export function generated(): Readonly<Record<string, string>> {
  const schemas = {
    agent: agentJsonSchema(),
    numbers: numbersJsonSchema(),
    scenario: scenarioJsonSchema(),
    'scenario-report': scenarioReportJsonSchema(),
    'call-record': openSchema(
      callRecordSchema,
      'Mkondo call record',
      'One call, written when it has ended, or when the next process starts if its own has died. Times are whole milliseconds.',
    ),
    handoff: openSchema(
      handoffSchema,
      'Mkondo handoff',
      'What the human gets with a caller. Times are milliseconds since the stream opened.',
    ),
    timeline: openSchema(
      timelineSchema,
      'Mkondo timeline',
      'What happened in one call and when, live or ended. Milliseconds.',
    ),
    journal: openSchema(
      journalLineSchema,
      'Mkondo journal line',
      "One line of a journal. The file is JSON lines: a header first, then everything that the call's session was given, in order.",
    ),
    'learned-turns': openSchema(
      learnedTurnsSchema,
      'Mkondo learned end of turn',
      'A model of the end of a turn, made by `mkondo learn`, and what it changed in calls that it was not made from.',
    ),
    fleet: openSchema(
      fleetStatusSchema,
      'Mkondo fleet',
      'GET /api/fleet: the nodes of a fleet as one of them sees them.',
    ),
  }
  return {
    '.env.example': envExample(null),
    'docs/AGENT-FILE.md': agentFilePage(),
    'docs/CONFIGURATION.md': configurationPage(),
    'docs/CONSOLE.md': consolePage(),
    'docs/ERRORS.md': errorsPage(),
    'docs/MODELS.md': modelsPage(),
    'docs/OPERATIONS.md': operationsPage(),
    ...vendorPages(),
    ...balancerFiles(),
    ...redisFile(),
    'schema/ops-api.openapi.yaml': opsApiDocument(),
    ...Object.fromEntries(
      Object.entries(schemas).map(([name, schema]) => [
        `schema/${name}.schema.json`,
        `${JSON.stringify(schema, null, 2)}\n`,
      ]),
    ),
  }
}
