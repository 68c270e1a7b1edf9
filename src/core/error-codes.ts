/** A code, for the person who meets it: `docs/ERRORS.md` has the table. */
export interface ErrorExplanation {
  /** Cause; a sentence without a subject in front or a full stop. */
  readonly cause: string
  /** Remedy for an operator or the author of an agent. */
  readonly action: string
}

/** A group of codes: a section of `docs/ERRORS.md`. */
type ErrorGroup = Readonly<Record<string, ErrorExplanation>>

/**
 * Every error code Mkondo reports, in one place. Codes are part of what operators search logs for: they are never
 * renamed, only added. The message beside a code names the value and what is allowed. `npm run documents` writes
 * `docs/ERRORS.md` from this table.
 */
export const ERRORS = {
  /** The operator has to change something before a command can do anything: it ends with exit code 2. */
  usage: {
    CONFIG_INVALID: {
      cause:
        'a setting, a file of settings or an argument has a value that is not allowed, or lacks one that another needs',
      action:
        'change the setting that the message names; `mkondo check` lists all of them, CONFIGURATION.md says what is allowed',
    },
    AGENT_INVALID: {
      cause:
        'an agent file, or a file that it names, cannot be read or has mistakes; or the agents folder has no agent',
      action:
        'run `mkondo check`, which names every mistake; while the gateway runs, the last valid version stays in use',
    },
    AGENT_UNKNOWN: {
      cause: 'no agent of the agents folder has the name that a setting, a path, an order or an option gives',
      action: 'use one of the names in the message, or add a file for it to `AGENTS_DIR`',
    },
    AGENT_CHANGED: {
      cause:
        'the file of an agent that is published has another text than the one that was opened for editing, or another node has published one',
      action: 'open it again, and make the change in what it has now',
    },
    AGENTS_DIR_UNWRITABLE: {
      cause: "the file of an agent cannot be replaced: the folder is read-only, is full, or the file is another user's",
      action:
        "make `AGENTS_DIR` writable for the gateway, with room, and its files the gateway's own; nothing was changed",
    },
    BACKEND_KEY_MISSING: {
      cause: 'an agent asks for a backend or a service whose key or address is not set',
      action: 'set the variable that the message names, or choose another backend (BACKENDS.md)',
    },
    PORT_IN_USE: {
      cause: 'another program listens at a port of the gateway',
      action: 'stop it, or set the variable that the message names to a free port',
    },
    SCRIPT_INVALID: {
      cause: 'a script or scenario of the simulator cannot be read or has mistakes, or the folder has none',
      action: 'correct the line that the message names (SIMULATOR.md)',
    },
    WAV_INVALID: {
      cause: 'a sound file is no WAV file that can be read, is too large or has no sound',
      action: 'convert the file to what the message allows',
    },
    JOURNAL_INVALID: {
      cause: 'a journal is damaged, is of a newer version, or cannot be cut as asked',
      action: 'use the version that recorded it, or another place to cut (REPLAY.md)',
    },
  },
  /** Webhooks, sockets and documents between the carrier and the gateway. */
  carrier: {
    WEBHOOK_UNSIGNED: {
      cause: 'a webhook has no signature, or one that no secret of `SAUTIKIT_WEBHOOK_SECRETS` makes',
      action: "compare the secret with the carrier's; see the runbook webhooks-rejected. A few are strangers",
    },
    WEBHOOK_STALE: {
      cause: 'the time in the signature of a webhook is too far from the clock of the gateway',
      action: 'synchronise the clock of the machine (the runbook clock-skew)',
    },
    WEBHOOK_MALFORMED: {
      cause: 'the body or the URL of a webhook lacks a field, or has one that cannot be read',
      action: 'compare the request with PROTOCOL.md; `mkondo doctor` tries the way of a webhook',
    },
    BODY_TOO_LARGE: {
      cause: 'the body of a request is longer than is allowed there',
      action: 'send less; the message has the limit',
    },
    CONTENT_TYPE: {
      cause: 'a request has a Content-Type or charset that its path does not take',
      action: 'send one that the message allows',
    },
    RATE_LIMITED: {
      cause:
        'a limit by time is reached: webhooks of a call or an address, wrong tokens, orders of calls, phrases, or the budget of a number',
      action: 'wait for `Retry-After`, or raise the setting that the message names',
    },
    TOKEN_MISSING: {
      cause: 'the URL of a media socket has no token',
      action: 'nothing, where a stranger tried it; otherwise the carrier changed the URL of the document',
    },
    TOKEN_INVALID: {
      cause:
        'a token of a URL was not made with the secret of this fleet, is of another call, or is of an earlier owner of its call',
      action: 'give all nodes the same `TOKEN_SECRET`; nothing, where a stranger tried it',
    },
    TOKEN_EXPIRED: {
      cause: 'a token of a URL is older than it may be',
      action: 'look at the clocks of the nodes; a retry of the carrier that is this late is not answered',
    },
    TOKEN_USED: {
      cause: 'a second socket came with a token that has opened one',
      action: 'nothing: the first socket continues',
    },
    SUBPROTOCOL: {
      cause: 'a media socket does not offer the subprotocol `audio.drachtio.org`',
      action: 'let the proxy in front pass the header `Sec-WebSocket-Protocol`',
    },
    XML_INVALID: {
      cause: 'a call-control document would have a value that the carrier refuses',
      action: 'report it: documents are made by the gateway only',
    },
  },
  /** Admission, and calls in progress. */
  calls: {
    CAPACITY: {
      cause:
        'all slots are taken: of the node, of an agent (`maxCalls`), of the searches for calls that wait, or of the one tool or phrase that may be tried at a time',
      action: 'try again; add nodes or raise `MAX_CALLS` (the runbook capacity)',
    },
    DRAINING: {
      cause: 'the node takes no new calls, because it drains or ends',
      action: 'nothing: another node takes them',
    },
    DUPLICATE_CALL: {
      cause: 'the call was answered before, or has its socket already',
      action: 'nothing: the carrier repeats a webhook that it believes lost, and the first answer counts',
    },
    CALL_UNKNOWN: {
      cause: 'no node has a call of this SID, live or lately ended',
      action: 'look at the SID; records of ended calls are in `DATA_DIR` (STORAGE.md)',
    },
    CALL_FAULT: {
      cause:
        'one operation failed in a way that has no code of its own: a phrase, a tool in code, a command of the CLI, a state that is not JSON',
      action:
        'read the message; a command that reports it had no gateway, or no answer that it can use, at `--ops-url`',
    },
    KEPT_CALL_INVALID: {
      cause: 'the state of a call in the store cannot be read, is of another version, or is of another call',
      action: 'give all nodes one version and one secret (RELEASES.md); the caller is rung back where that is allowed',
    },
    WORKER_DIED: {
      cause: 'the media worker ended while a tool of this call was running',
      action: 'see the runbook workers-die; whether the tool took effect is unknown',
    },
  },
  /** Sessions with models. A backend of your own reports the same codes (OWN-BACKEND.md). */
  backends: {
    BACKEND_AUTH: {
      cause: 'the service refuses the key',
      action: 'renew the key; a retry does not help, so the next backend of the list is taken',
    },
    BACKEND_RATE_LIMIT: {
      cause: 'the service allows no more sessions or requests for now',
      action: "ask the service for a higher limit, or add a backend to the agent's list",
    },
    BACKEND_QUOTA: {
      cause: 'the account with the service has no credit left',
      action: 'pay, or raise its limit; a retry does not help',
    },
    BACKEND_SESSION_EXPIRED: {
      cause: 'the service ended a session at its longest',
      action: 'nothing: a new session continues the call',
    },
    BACKEND_BAD_REQUEST: {
      cause:
        'the service, or the embedded backend, does not accept what it was sent: mostly an unknown model or voice, or a missing package',
      action:
        "correct the agent's `backend`, `model` or `voice` as the message says; `mkondo check` tells what a service takes",
    },
    BACKEND_NETWORK: {
      cause: 'no connection to the service, or the connection was lost',
      action: 'look at the network, DNS and proxy (`mkondo doctor`, the runbook backend-errors)',
    },
    BACKEND_TIMEOUT: {
      cause: 'the service did not answer in time',
      action: "look at the service's status; the runbook backend-errors",
    },
    BACKEND_OVERRUN: {
      cause: 'the service sends more than is read of one connection, which was cut off',
      action: "report it to the service; the calls go on with the next backend of the agent's list",
    },
    BACKEND_INTERNAL: {
      cause: 'the service reports a fault of its own, or answers something that cannot be read',
      action: "look at the service's status; the runbook backend-errors",
    },
    BACKEND_CLOSED: {
      cause: 'the call ended before its backend was connected',
      action: 'nothing',
    },
  },
  /** Tools: in a call record as `error`, in `mkondo_tool_errors_total` as `code`. The model gets a sentence of its own. */
  tools: {
    TOOL_UNKNOWN: {
      cause: 'the model called a tool that the agent does not have',
      action: 'look whether the instructions name a tool that is not declared',
    },
    TOOL_ARGUMENTS: {
      cause:
        "the arguments do not fit the tool's schema, or would change the path or a header of its request; nothing was sent",
      action: 'describe the parameters better, or loosen the schema; the model gets what was wrong',
    },
    TOOL_TIMEOUT: {
      cause: 'the tool gave no answer within its `timeoutMs`',
      action:
        'speed up the API or raise `timeoutMs`; one that takes longer than a caller waits has `waits` (WAITING.md)',
    },
    TOOL_HTTP: {
      cause:
        'the API or the MCP server cannot be reached, redirects in a way that is not followed, or answers with an error status',
      action: 'look at that server; the status is in the message (the runbook tools-fail)',
    },
    TOOL_RESPONSE: {
      cause: 'the answer cannot be used: no JSON where fields are taken from it, too large or nested too deep',
      action: 'let the API answer less, or choose fields with `result.fields`',
    },
    TOOL_FORBIDDEN_HOST: {
      cause: 'the address of the request, or of a redirect, is one that tools may not reach',
      action: 'if it is yours, write `allowPrivate: true` at the tool, or its host into `allowHosts`',
    },
    TOOL_CANCELLED: {
      cause: 'the call went on without the tool: the caller spoke over it, or the call ended',
      action: 'nothing; a tool with an effect may have had it all the same',
    },
    TOOL_UNVERIFIED: {
      cause: 'the tool requires a verified caller and this one is not, or an answer to a question was wrong',
      action: 'nothing: the model asks a question; look at `verification` where it happens often',
    },
    TOOL_UNBOUND: {
      cause: 'a parameter is bound to a field of the call that has no value, such as a withheld number',
      action: 'let the instructions say what is done for callers without it, or bind another field',
    },
    TOOL_LOCKED: {
      cause: 'too many wrong answers came from the number of this call; none is taken for now',
      action: 'nothing: a human takes over; the lock ends by itself',
    },
    TOOL_UNCERTAIN: {
      cause: 'an earlier run of the same call was lost while it ran, so it is not run again',
      action: 'look in the system behind the tool whether it took effect',
    },
    TOOL_NOT_OWNER: {
      cause: 'another node has taken the call over, so this one does nothing for it any more',
      action: 'nothing',
    },
  },
  /** Recogniser and voices on this machine. */
  speech: {
    SPEECH_BUSY: {
      cause: 'all decoders or speech sessions are taken, or a call has too much under way',
      action: 'lower `MAX_CALLS`, or raise `SPEECH_WORKERS` where processors are free (OFFLINE-AGENT.md)',
    },
    SPEECH_FAULT: {
      cause: 'the recogniser or a voice failed, or its thread ended',
      action: 'look at the log before it; another speech worker continues. Report it if it comes again',
    },
  },
  /** The carrier's REST API, and calls that the gateway places. */
  outbound: {
    CARRIER_API: {
      cause: "the carrier's REST API refused a request, or answered what cannot be read",
      action: 'read its status and reason in the message (CARRIER-API.md)',
    },
    CARRIER_API_NETWORK: {
      cause: "the carrier's REST API cannot be reached, or did not answer in time",
      action: 'look at the network and at `SAUTIKIT_API_URL`; the order may have been carried out',
    },
    CALL_REFUSED: {
      cause:
        'the order cannot be carried out as it is: a number that may not be called, a missing `from` or variable, no API key, a call that is ending',
      action: 'change what the message names',
    },
    DO_NOT_CALL: {
      cause: 'the number of an order is on the do-not-call list',
      action:
        'call nobody who wants no calls; where they want this one, take them off (`mkondo do-not-call remove`), or order it with `--ignore-do-not-call`',
    },
    CAMPAIGN_UNKNOWN: {
      cause: 'there is no campaign of that id',
      action: 'take one of `mkondo campaign list`',
    },
  },
  /** Shared data of nodes, and their stores. */
  stores: {
    STORE_DOWN: {
      cause: 'the store that the nodes of a fleet share does not answer',
      action: 'see the runbook store-down; live calls continue',
    },
    STORE_REFUSED: {
      cause:
        'the store answers, and does not take or give this one entry: its format is another one, the fleet is full, or the disk does not take it',
      action: 'give all nodes one version and Redis a database of its own; otherwise do what the message allows',
    },
    STORAGE: {
      cause: 'the object storage does not answer, or has something else than what was stored',
      action: 'see the runbook storage-late; with another content, look who writes to the bucket',
    },
  },
} as const satisfies Readonly<Record<string, ErrorGroup>>

/** Codes of the HTTP ports alone, in `error.code` of an answer's body; the others come there too. */
export const HTTP_ERRORS = {
  NOT_FOUND: { cause: 'there is nothing at this path', action: 'look at the path and the port' },
  METHOD_NOT_ALLOWED: { cause: 'the path takes other methods', action: 'use one of the header `Allow`' },
  BODY_TOO_SLOW: { cause: 'the body did not come in time', action: 'send it at once' },
  UNAUTHORIZED: {
    cause: 'the token of the port is missing or wrong',
    action: 'send `Authorization: Bearer` with `OPS_TOKEN`',
  },
  FORBIDDEN: {
    cause:
      'what was sent proves who it is, and may not do this: a token for metrics, a session that only reads, a page of another site, a host name without a token',
    action: 'use `OPS_TOKEN`, or log in to act',
  },
  BUSY: { cause: 'too many requests, files or pages are served already', action: 'try again after `Retry-After`' },
  UPGRADE_REQUIRED: { cause: 'the path is a WebSocket', action: 'open it as one' },
  BAD_REQUEST: { cause: 'the request or its body is not what the path takes', action: 'send what the message says' },
  RANGE: { cause: 'the file has no such part', action: 'ask for a `Range` within its length' },
  NODE_SILENT: {
    cause: 'nodes of the fleet that had to be asked do not answer',
    action: 'try again when the nodes in the message are up; a command may have been carried out',
  },
  OTHER_NODE: { cause: 'another node has this file', action: 'ask the node that the message names' },
  CALL_LIVE: { cause: 'a call that is live cannot be erased', action: 'end it, then erase it' },
  CONFLICT: {
    cause: 'something else was accepted before: another outcome of a tool, or as many listeners as are allowed',
    action: 'nothing for an outcome, the first one counts; for a listener, wait until another leaves',
  },
  GONE: { cause: 'nothing waits for this outcome any more', action: 'stop sending it' },
  MOVING: { cause: 'the call moves to another node', action: 'send it again after `Retry-After`' },
  NOT_KEPT: { cause: 'the outcome could not be stored', action: 'send it again after `Retry-After`' },
  INTERNAL: { cause: 'the gateway failed to answer', action: 'read its log, and report it' },
} as const satisfies ErrorGroup
