/** Explanation of an error code for people; `docs/ERRORS.md` shows all explanations in a table. */
export interface ErrorExplanation {
  /** Cause of the error, as a sentence without its subject and its full stop. */
  readonly cause: string
  /** Remedy for an operator or an agent's author. */
  readonly action: string
}

/** A group of codes: a section of `docs/ERRORS.md`. */
type ErrorGroup = Readonly<Record<string, ErrorExplanation>>

/**
 * Every error code that Mkondo reports. Operators search logs for codes, so codes are only added and never renamed.
 * `npm run documents` writes `docs/ERRORS.md` from this table.
 */
export const ERRORS = {
  /** Faults that the operator must correct before a command can run. The command ends with exit code 2. */
  usage: {
    CONFIG_INVALID: {
      cause:
        'a setting, a file of settings or an argument has a value that is not allowed, or lacks a value that another setting needs',
      action:
        'change the setting that the message names; `mkondo check` lists all such settings, CONFIGURATION.md has the allowed values',
    },
    AGENT_INVALID: {
      cause:
        'an agent file, or a file that it names, cannot be read or has mistakes; or the agents folder has no agent',
      action:
        'run `mkondo check`, which names every mistake; while the gateway runs, the last valid version stays in use',
    },
    AGENT_UNKNOWN: {
      cause: 'a setting, a path, an order or an option names an agent that is not in the agents folder',
      action: 'use one of the names in the message, or add a file with this name to `AGENTS_DIR`',
    },
    AGENT_CHANGED: {
      cause: 'somebody else, or another node, changed the file of the agent after it was opened for editing',
      action: 'open the file again, and repeat your change in the present text',
    },
    AGENTS_DIR_UNWRITABLE: {
      cause: 'the file of an agent cannot be replaced: the folder is read-only or full, or another user owns the file',
      action: 'make `AGENTS_DIR` and its files writable for the gateway, and free space; nothing was changed',
    },
    BACKEND_KEY_MISSING: {
      cause: 'an agent uses a backend or a service whose key or address is not set',
      action: 'set the variable that the message names, or choose another backend (BACKENDS.md)',
    },
    PORT_IN_USE: {
      cause: 'another program listens at a port of the gateway',
      action: 'stop that program, or set the variable that the message names to a free port',
    },
    SCRIPT_INVALID: {
      cause:
        'a script or scenario of the simulator cannot be read or has mistakes, or the folder has no script or scenario',
      action: 'correct the line that the message names (SIMULATOR.md)',
    },
    WAV_INVALID: {
      cause: 'a sound file is not a readable WAV file, is too large or has no sound',
      action: 'convert the file to a form that the message allows',
    },
    JOURNAL_INVALID: {
      cause: 'a journal is damaged, has a newer version, or cannot be cut at this position',
      action: 'use the version of Mkondo that recorded the journal, or cut the journal at another position (REPLAY.md)',
    },
  },
  /** Webhooks, sockets and documents between the carrier and the gateway. */
  carrier: {
    WEBHOOK_UNSIGNED: {
      cause: 'a webhook has no signature, or its signature does not match any secret of `SAUTIKIT_WEBHOOK_SECRETS`',
      action:
        "compare the secret with the carrier's; see the runbook webhooks-rejected. A few unsigned webhooks from strangers are normal",
    },
    WEBHOOK_STALE: {
      cause: "the time in the signature of a webhook is too far from the gateway's clock",
      action: 'synchronise the clock of the machine (the runbook clock-skew)',
    },
    WEBHOOK_MALFORMED: {
      cause: 'the body or the URL of a webhook lacks a field, or has an unreadable field',
      action: 'compare the request with PROTOCOL.md; `mkondo doctor` tries the path of a webhook',
    },
    BODY_TOO_LARGE: {
      cause: 'the body of a request is longer than its path allows',
      action: 'send a shorter body; the message has the limit',
    },
    CONTENT_TYPE: {
      cause: 'a request has a Content-Type or charset that its path does not accept',
      action: 'send a type that the message allows',
    },
    RATE_LIMITED: {
      cause:
        'a limit is reached: the rate of webhooks of a call or an address, of wrong tokens, of orders of calls or of phrases, or the budget of a number',
      action: 'wait for `Retry-After`, or raise the setting that the message names',
    },
    TOKEN_MISSING: {
      cause: 'the URL of a media socket has no token',
      action: 'do nothing if a stranger sent the request; otherwise the carrier has changed the URL of the document',
    },
    TOKEN_INVALID: {
      cause:
        "a token of a URL was created with another secret than the fleet's, for another call, or for an earlier owner of the call",
      action: 'give all nodes one `TOKEN_SECRET`; do nothing if a stranger sent the request',
    },
    TOKEN_EXPIRED: {
      cause: 'a token of a URL has expired',
      action: 'check the clocks of the nodes; a retry of the carrier after the expiry is not answered',
    },
    TOKEN_USED: {
      cause: 'a second socket came with a token that was used before',
      action: 'nothing: the first socket continues',
    },
    SUBPROTOCOL: {
      cause: 'a media socket does not offer the subprotocol `audio.drachtio.org`',
      action: 'configure the proxy in front to pass the header `Sec-WebSocket-Protocol`',
    },
    XML_INVALID: {
      cause: 'a call-control document would have a value that the carrier refuses',
      action: 'report this fault, because only the gateway creates documents',
    },
  },
  /** Admission, and calls in progress. */
  calls: {
    CAPACITY: {
      cause:
        'all slots of the node or of an agent (`maxCalls`) are in use, too many searches for calls wait, or another trial is running',
      action: 'try again; add nodes, or raise `MAX_CALLS` (the runbook capacity)',
    },
    DRAINING: {
      cause: 'the node does not take new calls, because the node drains or ends',
      action: 'nothing: another node accepts the calls',
    },
    DUPLICATE_CALL: {
      cause: 'the call was answered before, or its media socket is open already',
      action: 'nothing: the carrier repeats a webhook if it gets no answer, and the first answer is used',
    },
    CALL_UNKNOWN: {
      cause: 'no node has a live or recently ended call with this SID',
      action: 'check the SID; records of ended calls are in `DATA_DIR` (STORAGE.md)',
    },
    CALL_FAULT: {
      cause:
        'an operation without an error code of its own failed: a phrase, a tool in code, a command of the CLI, a state that is not JSON',
      action:
        'read the message; if a command reports this code, the gateway at `--ops-url` did not answer, or its answer was not usable',
    },
    KEPT_CALL_INVALID: {
      cause: 'the state of a call in the store cannot be read, has another version, or belongs to another call',
      action: 'give all nodes one version and one secret (RELEASES.md); the caller is called back if that is allowed',
    },
    WORKER_DIED: {
      cause: 'the media worker ended while a tool of this call was running',
      action: 'see the runbook workers-die; it is unknown whether the tool had its effect',
    },
  },
  /** Sessions with models. Backends that operators write also report these codes (OWN-BACKEND.md). */
  backends: {
    BACKEND_AUTH: {
      cause: 'the service refuses the key',
      action: 'renew the key; a retry does not help, so the next backend of the list takes over',
    },
    BACKEND_RATE_LIMIT: {
      cause: 'the service does not allow more sessions or requests for now',
      action: "ask the service for a higher limit, or add a backend to the agent's list",
    },
    BACKEND_QUOTA: {
      cause: 'the account with the service has no credit left',
      action: 'pay, or raise the limit of the account; a retry does not help',
    },
    BACKEND_SESSION_EXPIRED: {
      cause: 'the service ended a session that had reached its maximum duration',
      action: 'nothing: a new session continues the call',
    },
    BACKEND_BAD_REQUEST: {
      cause:
        'the service, or the embedded backend, refuses a value: mostly an unknown model or voice, or a missing package',
      action:
        "correct the agent's `backend`, `model` or `voice` as the message says; `mkondo check` shows the values that a service accepts",
    },
    BACKEND_NETWORK: {
      cause: 'the service cannot be reached, or the connection was lost',
      action: 'check the network, DNS and proxy (`mkondo doctor`, the runbook backend-errors)',
    },
    BACKEND_TIMEOUT: {
      cause: 'the service did not answer in time',
      action: "look at the service's status; the runbook backend-errors",
    },
    BACKEND_OVERRUN: {
      cause: 'the service sent more data than the limit of one connection, so the gateway closed the connection',
      action: "report it to the service; the calls continue with the next backend of the agent's list",
    },
    BACKEND_INTERNAL: {
      cause: 'the service reports an internal fault, or gives an unreadable answer',
      action: "look at the service's status; the runbook backend-errors",
    },
    BACKEND_CLOSED: {
      cause: 'the call ended before its backend was connected',
      action: 'nothing',
    },
  },
  /**
   * Tools. The codes appear as `error` in a call record, and as `code` in `mkondo_tool_errors_total`. The model
   * receives a sentence instead.
   */
  tools: {
    TOOL_UNKNOWN: {
      cause: 'the model called a tool that the agent does not have',
      action: "check whether the agent's instructions name a tool that the agent does not declare",
    },
    TOOL_ARGUMENTS: {
      cause:
        "the arguments do not fit the tool's schema, or would change the path or a header of its request; nothing was sent",
      action: 'describe the parameters better, or loosen the schema; the model gets the fault',
    },
    TOOL_TIMEOUT: {
      cause: 'the tool did not answer within its `timeoutMs`',
      action:
        'speed up the API, or raise `timeoutMs`; if the tool takes longer than a caller can wait, set `waits` (WAITING.md)',
    },
    TOOL_HTTP: {
      cause:
        'the API or the MCP server cannot be reached, redirects to an address that is not allowed, or answers with an error status',
      action: 'check that server; the message has the status (the runbook tools-fail)',
    },
    TOOL_RESPONSE: {
      cause:
        'the answer cannot be used: it is not JSON although fields are taken from it, or it is too large or nested too deep',
      action: "make the API's answer smaller, or choose fields with `result.fields`",
    },
    TOOL_FORBIDDEN_HOST: {
      cause: 'tools may not reach the address of the request or of a redirect',
      action: 'if the address is yours, set `allowPrivate: true` at the tool, or add its host to `allowHosts`',
    },
    TOOL_CANCELLED: {
      cause: 'the call continued without the tool: the caller spoke over it, or the call ended',
      action: 'nothing; a tool that changes data may still have changed it',
    },
    TOOL_UNVERIFIED: {
      cause: 'the tool requires a verified caller and the caller is not verified, or an answer to a question was wrong',
      action: 'nothing: the model asks a question; check `verification` if it happens often',
    },
    TOOL_UNBOUND: {
      cause: 'a parameter is bound to a field of the call that has no value, such as a withheld number',
      action: 'write in the instructions how the agent helps callers without this value, or bind another field',
    },
    TOOL_LOCKED: {
      cause: 'the number of this call has given too many wrong answers, so its answers are not accepted for now',
      action: 'nothing: a human takes over; the lock ends by itself',
    },
    TOOL_UNCERTAIN: {
      cause: 'the outcome of an earlier run of this tool call is unknown, so the tool is not run again',
      action: 'check in the system behind the tool whether the earlier run had its effect',
    },
    TOOL_NOT_OWNER: {
      cause: 'another node has taken the call over, so this node does not act for the call any more',
      action: 'nothing',
    },
  },
  /** Recogniser and voices on this machine. */
  speech: {
    SPEECH_BUSY: {
      cause: 'all decoders or speech sessions are in use, or a call has too many phrases in progress',
      action: 'lower `MAX_CALLS`, or raise `SPEECH_WORKERS` if processors are free (OFFLINE-AGENT.md)',
    },
    SPEECH_FAULT: {
      cause: 'the recogniser or a voice failed, or its thread ended',
      action: 'read the earlier log lines; another speech worker continues. Report the fault if it happens again',
    },
  },
  /** The carrier's REST API, and calls that the gateway places. */
  outbound: {
    CARRIER_API: {
      cause: "the carrier's REST API refused a request, or its answer is unreadable",
      action: 'read the status and the reason in the message (CARRIER-API.md)',
    },
    CARRIER_API_NETWORK: {
      cause: "the carrier's REST API cannot be reached, or did not answer in time",
      action: 'check the network and `SAUTIKIT_API_URL`; the order may have been carried out',
    },
    CALL_REFUSED: {
      cause:
        'the order cannot be carried out: the number may not be called; `from`, a variable or the API key is missing; or the call is ending',
      action: 'change the value that the message names',
    },
    DO_NOT_CALL: {
      cause: 'the number of an order is on the do-not-call list',
      action:
        'do not call people who refuse calls; if the person wants this call, remove the number (`mkondo do-not-call remove`), or use `--ignore-do-not-call`',
    },
    CAMPAIGN_UNKNOWN: {
      cause: 'no campaign has this id',
      action: 'use an id from `mkondo campaign list`',
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
        'the store answers, but refuses this entry: the entry has an unknown format, the fleet is full, or the disk does not accept the entry',
      action: 'give all nodes one version, and Redis a database of its own; otherwise follow the message',
    },
    STORAGE: {
      cause: 'the object storage does not answer, or its content differs from the stored content',
      action: 'see the runbook storage-late; if the content differs, check who writes to the bucket',
    },
  },
} as const satisfies Readonly<Record<string, ErrorGroup>>

/** Codes of the HTTP ports, in `error.code` of an answer's body. Other codes of this table also appear there. */
export const HTTP_ERRORS = {
  NOT_FOUND: { cause: 'the port has no route or file at this path', action: 'check the path and the port' },
  METHOD_NOT_ALLOWED: { cause: 'the path accepts other methods', action: 'use a method of the header `Allow`' },
  BODY_TOO_SLOW: { cause: 'the body did not arrive in time', action: 'send the body without pauses' },
  UNAUTHORIZED: {
    cause: 'the token of the port is missing or wrong',
    action: 'send `Authorization: Bearer` with `OPS_TOKEN`',
  },
  FORBIDDEN: {
    cause:
      'the sender may not do this: its token is only for metrics, its session only reads, its page is of another site, or it uses a host name although no token is set',
    action: 'use `OPS_TOKEN`, or log in with the right to act',
  },
  BUSY: { cause: 'too many requests, files or pages are being served', action: 'try again after `Retry-After`' },
  UPGRADE_REQUIRED: { cause: 'the path is a WebSocket', action: 'open the path as a WebSocket' },
  BAD_REQUEST: {
    cause: 'the path does not accept the request or its body',
    action: 'send a request as the message says',
  },
  RANGE: { cause: 'the requested part is outside the file', action: 'send a `Range` within the length of the file' },
  NODE_SILENT: {
    cause: 'the answer needs nodes of the fleet that do not respond',
    action: 'try again when the nodes in the message are up; a command may have been carried out',
  },
  OTHER_NODE: {
    cause: 'another node has this file, or a node of another version wrote this record',
    action: 'ask the node that the message names',
  },
  CALL_LIVE: {
    cause: 'the call is live: it cannot be erased and has no account yet',
    action: 'end the call, or wait for its end',
  },
  CONFLICT: {
    cause:
      'another outcome of the tool was accepted before, or the allowed number of people already listens to the call',
    action:
      'if you sent an outcome, do nothing, because the first outcome is used; if you want to listen, wait until a listener leaves',
  },
  GONE: { cause: 'a tool does not wait for this outcome any more', action: 'do not send the outcome again' },
  MOVING: { cause: 'the call moves to another node', action: 'send the request again after `Retry-After`' },
  NOT_KEPT: { cause: 'the outcome could not be stored', action: 'send the request again after `Retry-After`' },
  INTERNAL: { cause: 'the gateway failed to answer', action: 'read the log of the gateway, and report the fault' },
} as const satisfies ErrorGroup
