import type { z } from 'zod'
import { campaignFileSchema } from '../../campaigns/campaign.js'
import type { HttpStatus } from '../http/reply.js'
import { saySchema, trialSchema } from './ops-agents.js'
import type { OpsAnswerName } from './ops-answers.js'
import { callOrderSchema, escalateSchema, hangUpSchema, whisperSchema } from './ops-api.js'
import { doNotCallSchema } from './ops-campaigns.js'
import { draftSchema, openSchema, publishSchema } from './ops-editor.js'
import { eraseSchema, exportSchema } from './ops-erase.js'
import { chartsQuerySchema, findQuerySchema, listQuerySchema, nodeSchema, partQuerySchema } from './ops-fleet.js'
import { OPS_THINGS } from './ops-rights.js'
import type { OpsAccess } from './ops-rights.js'
import { loginSchema } from './ops-session.js'

/** Answer of a route with one HTTP status. */
interface OpsAnswer {
  /** Description of the answer in the document. */
  readonly is: string
  /** Body by content type: a schema of `OPS_ANSWERS`, text, or bytes. If absent, the answer is empty. */
  readonly content?: Readonly<Record<string, OpsAnswerName | 'text' | 'bytes'>>
}

interface OpsRow {
  /** Function in `OPS_THINGS`, which decides which tokens may use the route. */
  readonly thing: keyof typeof OPS_THINGS
  /** `operationId` in the document. */
  readonly id: string
  readonly tag: 'health' | 'calls' | 'nodes' | 'agents' | 'metrics' | 'console' | 'campaigns'
  /** Summary: one sentence without its full stop. */
  readonly summary: string
  readonly description?: string
  /** Schema by which the query is read. If absent, the query is ignored. */
  readonly query?: z.ZodObject
  /** Schema by which the body is read; an empty body is an empty object. If absent, the body is ignored. */
  readonly body?: z.ZodType
  /** Answers without faults by their HTTP status. `OpsRow.thing` decides if there are faults too. */
  readonly answers: Readonly<Partial<Record<HttpStatus | 101, OpsAnswer>>>
  /** True if the answer is a file, of which the client can request a part. */
  readonly ranges?: true
}

const json = (schema: OpsAnswerName, is: string): OpsAnswer => ({ is, content: { 'application/json': schema } })
const wav = { is: '16-bit PCM', content: { 'audio/wav': 'bytes' } } as const
const commanded = json('Commanded', 'The command is accepted and carried out at once')
const scraped = {
  is: 'A page of metrics',
  content: { 'application/openmetrics-text': 'text', 'text/plain': 'text' },
} as const

function campaignCommand(id: string, summary: string) {
  return {
    thing: 'call',
    id,
    tag: 'campaigns',
    summary,
    answers: { 200: json('Campaign', 'Its new state') },
  } as const satisfies OpsRow
}

/**
 * All routes of the ops port: method and path, with `SOCKET` for an upgrade. Requests are read and admitted by this
 * table, and `schema/ops-api.openapi.yaml` is made from it (`npm run documents`). The schemas of the answers are in
 * ops-answers.ts, which a running gateway does not load. A route without a row cannot be registered.
 */
export const OPS_ROUTES = {
  'GET /healthz': {
    thing: 'health',
    id: 'health',
    tag: 'health',
    summary: 'Answers if the process runs, even if its backends or stores fail',
    answers: { 200: { is: 'The process runs', content: { 'text/plain': 'text' } } },
  },
  'GET /readyz': {
    thing: 'health',
    id: 'ready',
    tag: 'health',
    summary: 'Shows if this process accepts a new call',
    answers: {
      200: json('Ready', 'The process accepts new calls'),
      503: json('Ready', 'The process accepts no new call, for the given reason'),
    },
  },
  'GET /metrics': {
    thing: 'metrics',
    id: 'metrics',
    tag: 'metrics',
    summary: 'Metrics of this process, as docs/METRICS.md lists them',
    description: 'Format by the `Accept` header: OpenMetrics, or the text format of Prometheus.',
    answers: { 200: scraped },
  },
  'GET /metrics/calls': {
    thing: 'metrics',
    id: 'callMetrics',
    tag: 'metrics',
    summary: 'Three series for each live call',
    answers: { 200: scraped },
  },
  'GET /api/calls': {
    thing: 'node',
    id: 'listCalls',
    tag: 'calls',
    summary: 'Live and ended calls of this process, the newest ended call first',
    answers: { 200: json('ProcessCalls', 'At most 1000 live and 1000 ended calls') },
  },
  'POST /api/calls': {
    thing: 'call',
    id: 'placeCall',
    tag: 'calls',
    summary: 'Rings a number and connects the person who answers to an agent',
    body: callOrderSchema,
    answers: { 201: json('PlacedCall', 'The carrier has accepted the request') },
  },
  'GET /api/calls/:sid': {
    thing: 'record',
    id: 'getCall',
    tag: 'calls',
    summary: "A live call's view, or the record of an ended call",
    answers: { 200: json('Call', 'The call. An ended call has an `outcome`') },
  },
  'GET /api/calls/:sid/transcript': {
    thing: 'record',
    id: 'getTranscript',
    tag: 'calls',
    summary: 'The words of a call, live or ended',
    answers: { 200: json('CallTranscript', 'The words in their order') },
  },
  'GET /api/calls/:sid/timeline': {
    thing: 'record',
    id: 'getTimeline',
    tag: 'calls',
    summary: 'The events of a call with their times, live or ended',
    answers: { 200: json('Timeline', 'Times in milliseconds since the webhook') },
  },
  'GET /api/calls/:sid/why': {
    thing: 'record',
    id: 'getWhy',
    tag: 'calls',
    summary:
      'An explanation of an ended call: its cause, waits, unusual values, decisions, and words that the caller did not hear',
    answers: { 200: json('Why', 'Times in milliseconds since the webhook; sentences in English') },
  },
  'GET /api/calls/:sid/handoff': {
    thing: 'record',
    id: 'getHandoff',
    tag: 'calls',
    summary: 'The handoff packet of an escalation, or of a refused call with the number to call back',
    answers: { 200: json('Handoff', 'The packet') },
  },
  'GET /api/calls/:sid/recording.wav': {
    thing: 'recording',
    id: 'getRecording',
    tag: 'calls',
    summary: 'The recording in stereo, the caller left and the agent right',
    description: 'The node that has the file answers. Needs the right to listen.',
    query: partQuerySchema,
    answers: { 200: wav },
    ranges: true,
  },
  'GET /api/calls/:sid/carrier-recording': {
    thing: 'recording',
    id: 'getCarrierRecording',
    tag: 'calls',
    summary: "The carrier's recording (CARRIER_RECORDINGS), unchanged",
    description: 'The node that has the file answers. Needs the right to listen.',
    answers: { 200: { is: 'Audio', content: { 'audio/*': 'bytes' } } },
    ranges: true,
  },
  'GET /api/calls/:sid/journal.jsonl': {
    thing: 'journal',
    id: 'getJournal',
    tag: 'calls',
    summary: 'The journal, which `mkondo replay` runs',
    description:
      'The journal has the words of the call. The node that has the file answers. Needs the right to listen.',
    answers: { 200: { is: 'JSON lines', content: { 'application/jsonl': 'text' } } },
    ranges: true,
  },
  'POST /api/calls/:sid/hangup': {
    thing: 'command',
    id: 'hangUp',
    tag: 'calls',
    summary: 'Ends a live call',
    body: hangUpSchema,
    answers: { 202: commanded },
  },
  'POST /api/calls/:sid/escalate': {
    thing: 'command',
    id: 'escalate',
    tag: 'calls',
    summary: 'Brings a human into a live call',
    body: escalateSchema,
    answers: { 202: commanded },
  },
  'POST /api/calls/:sid/whisper': {
    thing: 'command',
    id: 'whisper',
    tag: 'calls',
    summary: 'Sends a text to the model of a live call. The caller does not hear it',
    description:
      "The model uses it in its next answer. The call's timeline has a mark for it. The embedded backend has no model.",
    body: whisperSchema,
    answers: { 202: commanded },
  },
  'SOCKET /api/calls/:sid/listen': {
    thing: 'audio',
    id: 'listen',
    tag: 'calls',
    summary: 'A WebSocket with both voices of a live call, 0.4 s late',
    description:
      'Needs OPS_LISTEN_TOKEN, or a session that was opened with it. The first message is a text, ' +
      '`{"type":"format","sampleRateHz":16000,"channels":2}`. All others are binary: s16le, the caller left and the agent right. ' +
      'The socket closes with 1000 when the stream ends, with 4409 if the call has no stream, and with 4404 if no node has the call.',
    answers: { 101: { is: 'The sound begins' } },
  },
  'POST /api/erase': {
    thing: 'caller',
    id: 'erase',
    tag: 'calls',
    summary: 'Erases the data of an ended call, or of all calls of a number, at all nodes',
    description:
      'While such a call is live, the answer is 409 `CALL_LIVE` and nothing is erased. docs/OPERATIONS.md has more.',
    body: eraseSchema,
    answers: { 200: json('Erasure', 'Counts of the erased data') },
  },
  'POST /api/export': {
    thing: 'caller',
    id: 'export',
    tag: 'calls',
    summary: 'The ended calls of a number at all nodes, and its data in campaigns',
    description: "For a copy of a caller's data (`mkondo export`). docs/OPERATIONS.md has more.",
    body: exportSchema,
    answers: { 200: json('Export', 'The calls by their SIDs') },
  },
  'GET /api/backends': {
    thing: 'node',
    id: 'listBackends',
    tag: 'nodes',
    summary: 'Each backend since the start of this process: sessions, faults, takeovers, circuits',
    answers: { 200: json('Backends', 'By name') },
  },
  'GET /api/refusals': {
    thing: 'node',
    id: 'listRefusals',
    tag: 'nodes',
    summary: 'Calls and sockets that this process refused lately, with reasons, newest first',
    answers: { 200: json('Refusals', 'The newest refusals') },
  },
  'GET /api/campaigns': {
    thing: 'campaigns',
    id: 'listCampaigns',
    tag: 'campaigns',
    summary: 'All campaigns with their counts, oldest first',
    answers: { 200: json('Campaigns', 'At most 200 campaigns') },
  },
  'POST /api/campaigns': {
    thing: 'call',
    id: 'createCampaign',
    tag: 'campaigns',
    summary: 'Checks a whole file, and makes a draft campaign from it',
    description: 'Send the file again to add the rows that the campaign does not have.',
    body: campaignFileSchema,
    answers: {
      200: json('CampaignMade', 'Number of new rows; with `dryRun` the number of rows that can be called'),
      201: json('CampaignMade', 'The draft, with the number of new rows'),
      400: json('CampaignFault', 'Faults of the file, or of the request'),
    },
  },
  'GET /api/campaigns/:id': {
    thing: 'campaigns',
    id: 'getCampaign',
    tag: 'campaigns',
    summary: 'The state of a campaign',
    answers: { 200: json('Campaign', 'The campaign with its counts') },
  },
  'GET /api/campaigns/:id/report.csv': {
    thing: 'campaigns',
    id: 'reportCampaign',
    tag: 'campaigns',
    summary: 'A line for each row, with its number and result. The id `call-backs` gives the promised call backs',
    answers: { 200: { is: 'CSV', content: { 'text/csv': 'text' } } },
  },
  'POST /api/campaigns/:id/start': campaignCommand('startCampaign', 'Begins to call the rows of a draft'),
  'POST /api/campaigns/:id/pause': campaignCommand(
    'pauseCampaign',
    'Starts no more calls until the campaign is resumed',
  ),
  'POST /api/campaigns/:id/resume': campaignCommand('resumeCampaign', 'Continues a paused campaign'),
  'POST /api/campaigns/:id/stop': campaignCommand('stopCampaign', 'Ends a campaign for good: it starts no more calls'),
  'POST /api/campaigns/:id/remove': {
    thing: 'call',
    id: 'removeCampaign',
    tag: 'campaigns',
    summary: 'Deletes a campaign that has ended or was never started, with all its rows',
    answers: { 200: json('Removed', 'The campaign is removed') },
  },
  'GET /api/do-not-call': {
    thing: 'campaigns',
    id: 'listDoNotCall',
    tag: 'campaigns',
    summary: 'Numbers on the do-not-call list, masked, the newest first',
    answers: { 200: json('DoNotCall', 'At most 10000 numbers') },
  },
  'POST /api/do-not-call': {
    thing: 'call',
    id: 'changeDoNotCall',
    tag: 'campaigns',
    summary: 'Puts a number on the do-not-call list, or takes it off',
    body: doNotCallSchema,
    answers: { 200: json('Changed', 'The list after the change') },
  },
  'GET /api/messages': {
    thing: 'node',
    id: 'listMessages',
    tag: 'nodes',
    summary: 'Undelivered messages of this process',
    description: 'Messages that are not tried again come first. In a fleet these are the messages of all nodes.',
    answers: { 200: json('Messages', 'At most 1,000 messages, without their content') },
  },
  'POST /api/messages/:key/retry': {
    thing: 'operate',
    id: 'retryMessage',
    tag: 'nodes',
    summary: 'Sends an undelivered message again, even if it was given up',
    answers: { 200: json('Retried', 'The message is sent now') },
  },
  'GET /api/agents': {
    thing: 'agents',
    id: 'listAgents',
    tag: 'agents',
    summary: 'The agents of this process, redacted, and the files of its agents folder',
    answers: { 200: json('Agents', 'The agents in the version for new calls') },
  },
  'POST /api/agents/:name/tools/:tool': {
    thing: 'tools',
    id: 'tryTool',
    tag: 'agents',
    summary: 'Tries a tool with the checks, bindings, deadline and addresses of a call',
    description:
      'The call is simulated. The request of a tool that may change data is built and not sent, unless `send` is true. ' +
      'One trial runs at a time. The answer to a second request is 503 `CAPACITY`.',
    body: trialSchema,
    answers: { 200: json('Trial', 'Result of the trial') },
  },
  'POST /api/agents/:name/say': {
    thing: 'tools',
    id: 'sayPhrase',
    tag: 'agents',
    summary: "A phrase in the voice of the agent's first backend, with its pronunciations",
    description:
      'A realtime model is told to say exactly these words, in a separate session. If its service refuses, the answer is 502 ' +
      '`CALL_FAULT`. One phrase is spoken at a time (503 `CAPACITY`), ten at once and then one every 2 s (429 `RATE_LIMITED`).',
    body: saySchema,
    answers: { 200: wav },
  },
  'GET /api/editor': {
    thing: 'agents',
    id: 'listAgentFiles',
    tag: 'agents',
    summary: "The files of each node's agents folder, with hashes of their texts, and the versions for new calls",
    description: 'Without `AGENTS_EDIT` this path and all others of the editor answer 404.',
    answers: { 200: json('EditedList', 'This node first') },
  },
  'POST /api/editor/open': {
    thing: 'edit',
    id: 'openAgentFile',
    tag: 'agents',
    summary: "The text of an agent's file, or an earlier text of it",
    description:
      'The text is not masked. A text with a literal secret is not shown; `refusal` names the lines of its secrets.',
    body: openSchema,
    answers: { 200: json('OpenedText', 'The text, and a list of the stored texts') },
  },
  'POST /api/editor/check': {
    thing: 'edit',
    id: 'checkAgentText',
    tag: 'agents',
    summary: 'Checks a text as the new content of a file, like `mkondo check`. Nothing is written',
    description:
      'All paths of the editor together check one text at a time. While four requests wait, the answer is 503 `CAPACITY`.',
    body: draftSchema,
    answers: { 200: json('CheckedText', 'The faults of the text, or the version that it would have') },
  },
  'POST /api/editor/draft': {
    thing: 'edit',
    id: 'tryAgentText',
    tag: 'agents',
    summary: 'Stores a text as a draft for test calls of the softphone',
    description:
      'At most 8 drafts at once, each for 15 minutes after its last call. The parts that all calls of an agent take from the version ' +
      'in use (docs/AGENTS.md, canary) cannot differ.',
    body: draftSchema,
    answers: { 200: json('TriableDraft', 'The faults of the text, or its id, for `call` of `/api/phone`') },
  },
  'POST /api/editor/publish': {
    thing: 'edit',
    id: 'publishAgentText',
    tag: 'agents',
    summary: 'Replaces the text of a file, at this node and then at all other nodes',
    description:
      "A text with faults is not published. The answer is 409 `AGENT_CHANGED` if this node's file has another text than `base`. Another " +
      'node accepts the text if its file has the text `base`, or a text that was published here before.',
    body: publishSchema,
    answers: { 200: json('Publication', 'Result at each node') },
  },
  'GET /api/settings': {
    thing: 'node',
    id: 'getSettings',
    tag: 'nodes',
    summary: 'The settings of this process by variable name. A secret is shown only as set or not set',
    answers: { 200: json('Settings', 'The settings, with defaults') },
  },
  'GET /api/fleet': {
    thing: 'fleet',
    id: 'getFleet',
    tag: 'nodes',
    summary: 'The nodes of the fleet, and the store that they share',
    answers: { 200: json('Fleet', 'The fleet as this node sees it') },
  },
  'GET /api/fleet/calls': {
    thing: 'lists',
    id: 'listFleetCalls',
    tag: 'calls',
    summary: 'Live and ended calls of all nodes, newest first',
    query: listQuerySchema,
    answers: {
      200: {
        is: 'At most `limit` live and `limit` ended calls',
        content: { 'application/json': 'FleetCalls', 'text/csv': 'text' },
      },
    },
  },
  'GET /api/find': {
    thing: 'lists',
    id: 'findCalls',
    tag: 'calls',
    summary: 'Search in the stored records of all nodes, newest call first',
    description: 'A call must match all parameters. The + of a number is written as %2B.',
    query: findQuerySchema,
    answers: { 200: json('FoundCalls', 'A page of calls') },
  },
  'GET /api/charts': {
    thing: 'lists',
    id: 'charts',
    tag: 'calls',
    summary:
      'Ended calls of all nodes over a day, a week or a month, with their outcomes, answer times and cost, by agent or version',
    query: chartsQuerySchema,
    answers: { 200: json('Charts', 'The figures') },
  },
  'POST /api/drain': {
    thing: 'operate',
    id: 'drain',
    tag: 'nodes',
    summary: 'A node accepts no new calls, finishes its live calls and ends',
    body: nodeSchema,
    answers: { 202: json('Draining', 'The node drains') },
  },
  'POST /api/cordon': {
    thing: 'operate',
    id: 'cordon',
    tag: 'nodes',
    summary: 'A node accepts no new calls; its process continues',
    body: nodeSchema,
    answers: { 200: json('Cordoned', "The node's state") },
  },
  'POST /api/uncordon': {
    thing: 'operate',
    id: 'uncordon',
    tag: 'nodes',
    summary: 'A cordoned node accepts calls again',
    body: nodeSchema,
    answers: { 200: json('Cordoned', "The node's state") },
  },
  'GET /api/live': {
    thing: 'events',
    id: 'watchCalls',
    tag: 'console',
    summary: 'The live calls of all nodes as server-sent events: first all calls, then the changes',
    answers: {
      200: {
        is: 'Events `calls`; the first one, and the first one after a stall, is `whole`',
        content: { 'text/event-stream': 'CallsEvent' },
      },
    },
  },
  'GET /api/calls/:sid/live': {
    thing: 'events',
    id: 'watchCall',
    tag: 'console',
    summary: 'One call as server-sent events: first the whole call, then the parts that change',
    answers: {
      200: {
        is: 'Events `call`; at the end `over`, or `unknown` if no node has the call',
        content: { 'text/event-stream': 'CallEvent' },
      },
    },
  },
  'SOCKET /api/phone': {
    thing: 'call',
    id: 'openSoftphone',
    tag: 'console',
    summary: 'The WebSocket of the softphone, one call at a time; docs/CONSOLE.md has its messages',
    answers: { 101: { is: 'Texts are JSON with a `type`; binary messages are s16le, 16 kHz, mono' } },
  },
  'GET /api/session': {
    thing: 'session',
    id: 'getSession',
    tag: 'console',
    summary: 'The rights of the console in this browser, and if a login is required',
    answers: { 200: json('Session', 'The optional fields are present for a session that may read') },
  },
  'POST /api/login': {
    thing: 'login',
    id: 'logIn',
    tag: 'console',
    summary: 'Exchanges OPS_TOKEN, or OPS_LISTEN_TOKEN, for a session of the console',
    body: loginSchema,
    answers: { 204: { is: 'A cookie: HttpOnly, SameSite=Strict' } },
  },
  'POST /api/logout': {
    thing: 'login',
    id: 'logOut',
    tag: 'console',
    summary: 'Ends the session of this browser',
    answers: {
      200: json('Session', 'The new answer of `GET /api/session`. All nodes that can be reached now refuse the cookie'),
    },
  },
} as const satisfies Readonly<Record<`${'GET' | 'POST' | 'SOCKET'} /${string}`, OpsRow>>

export type OpsRoute = keyof typeof OPS_ROUTES

/** The query of a route, as its schema reads it; undefined if it has no schema. */
export type QueryOf<Route extends OpsRoute> = Route extends OpsRoute
  ? (typeof OPS_ROUTES)[Route] extends { readonly query: infer Query extends z.ZodType }
    ? z.output<Query>
    : undefined
  : never
/** The body of a route, as its schema reads it. */
export type OrderOf<Route extends OpsRoute> = Route extends OpsRoute
  ? (typeof OPS_ROUTES)[Route] extends { readonly body: infer Body extends z.ZodType }
    ? z.output<Body>
    : never
  : never

export function rowOf(route: OpsRoute): OpsRow {
  return OPS_ROUTES[route]
}

export function accessOf(route: OpsRoute): OpsAccess {
  return OPS_THINGS[OPS_ROUTES[route].thing]
}
