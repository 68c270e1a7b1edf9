/**
 * Every bound of the gateway, by layer. A bound that an operator may want to change is also a setting
 * (src/config); the value here is then its default. What is dropped at a bound is counted by the part that
 * drops it.
 */

// --- carrier protocol (sautikit) ---------------------------------------------------------------------------
/** Largest webhook body we read. The carrier's are under 2 KiB; docs/PROTOCOL.md 1. */
export const WEBHOOK_BODY_BYTES_MAX = 16 * 1024
/** Fields of one webhook, nested ones included; the carrier's have about 20. */
export const WEBHOOK_FIELDS_MAX = 256
/** Age of a signature that we still accept, either way. docs/PROTOCOL.md 2. */
export const SIGNATURE_SKEW_S = 300
/** Longest signature header we read, and the `v1` values in it that we compare. */
export const SIGNATURE_HEADER_CHARS_MAX = 2048
export const SIGNATURE_VALUES_MAX = 8
/** Largest text frame whose JSON we read; the lineage's first frame is at most 8,192 bytes. docs/PROTOCOL.md 5. */
export const TEXT_FRAME_BYTES_MAX = 8192
/** Messages that are read from one text frame; the rest of it is counted as one unreadable message. */
export const TEXT_FRAME_MESSAGES_MAX = 64
/** Headers that are kept from a first frame or from a handshake. */
export const STREAM_HEADERS_MAX = 64
/** Deepest JSON from outside that we walk. */
export const JSON_DEPTH_MAX = 8
/** Actions in one document; the carrier refuses more. docs/PROTOCOL.md 3. */
export const VOICE_ACTIONS_MAX = 50
/**
 * Host, path with query, and first-frame metadata of a stream URL, in bytes: the lineage's buffers. docs/PROTOCOL.md 3.
 */
export const STREAM_HOST_BYTES_MAX = 512
export const STREAM_PATH_BYTES_MAX = 4096
export const STREAM_METADATA_BYTES_MAX = 8192

// --- audio socket -----------------------------------------------------------------------------------------
/** Largest frame from the carrier: 4 s at 16 kHz mono; uWS closes on more. docs/PROTOCOL.md. */
export const CARRIER_FRAME_BYTES_MAX = 128 * 1024
/** Longest burst that a healthy carrier sends after a stall: its own buffer holds 2 s. docs/PROTOCOL.md. */
export const CARRIER_BURST_MS = 2000
/** The carrier's byte rate is measured over this time. docs/PROTOCOL.md. */
export const CARRIER_RATE_WINDOW_MS = 10_000
/** A call ends after this time without any frame from the carrier. */
export const CARRIER_SILENT_MS = 5000
/** A prepared call that no socket claims ends after this. docs/ARCHITECTURE.md. */
export const SOCKET_WAIT_MS = 10_000
/** How long the token in an audio URL may be used. docs/PROTOCOL.md. */
export const AUDIO_TOKEN_TTL_S = 60
/** After killAudio new audio waits this long, or the carrier throws it away too. docs/PROTOCOL.md. */
export const AFTER_KILL_SILENCE_MS = 60

// --- playout ----------------------------------------------------------------------------------------------
/** The playout lead: audio that the carrier may hold and has not played yet. docs/ARCHITECTURE.md. */
export const PLAYOUT_LEAD_MS_16K = 100
export const PLAYOUT_LEAD_MS_8K = 140
export const PLAYOUT_LEAD_MS_MAX = 200
/** Zeros after an utterance, so that the carrier's hold-back lets its tail out. docs/PROTOCOL.md. */
export const PLAYOUT_TAIL_MS = 200
/** Length of every fade: long enough to make no click, short enough not to be heard. */
export const FADE_MS = 5
/** Agent audio kept for one call ahead of playout, ring and overflow together; more is dropped and counted. */
export const PLAYOUT_BACKLOG_MS_MAX = 180_000

// --- call session -----------------------------------------------------------------------------------------
/** Entries of a transcript that are kept; beyond it the oldest go. */
export const TRANSCRIPT_ENTRIES_MAX = 400
/** Characters of one transcript entry that are kept. */
export const TRANSCRIPT_TEXT_CHARS_MAX = 4000
/** Tool calls of one call that are kept in its record. */
export const TOOL_CALLS_MAX = 200
/** Tool calls that may run at once for one call. */
export const TOOLS_RUNNING_MAX = 8
/** Marks of a call's timeline that are kept. */
export const TIMELINE_MARKS_MAX = 2000
/** Turns and barge-ins of one call that are kept in its record, each. */
export const CALL_RECORDS_MAX = 1000
/** Outputs of a session that wait to be drained; beyond it marks and checkpoint notices are dropped. */
export const CALL_OUTPUTS_QUEUED_MAX = 256
/** Transcript entries that are still growing at once. */
export const TRANSCRIPT_OPEN_MAX = 32
/** Speech items (backend's and gateway's) that a session or a playout ledger remembers. */
export const SPEECH_ITEMS_MAX = 128
/** Responses that may fail one after another before the backend counts as dead. */
export const RESPONSES_FAILED_MAX = 3
/** Runs of samples of one item that playout has not finished with. */
export const PLAYOUT_SEGMENTS_MAX = 512
/** Samples that the carrier keeps back until more come; observed with the lineage's client. docs/PROTOCOL.md. */
export const CARRIER_HOLD_BACK_SAMPLES = 640
/** An audio socket that we closed counts as closed after this, whatever the other side does. */
export const STREAM_CLOSE_WAIT_MS = 2000
/** Longest wait for our speech to be heard before the call goes on. */
export const WORDS_HEARD_MS_MAX = 20_000
/** Caller frames in one journal line. */
export const JOURNAL_FRAMES_PER_LINE_MAX = 250
/** Characters of caller audio in one journal line, after which another begins; the longest packet comes on top. */
export const JOURNAL_MEDIA_CHARS_PER_LINE = 256 * 1024
/** Answers of the playout that a journal remembers, to note only those that changed. */
export const JOURNAL_ANSWERS_MAX = 512
/** Characters of one journal line that are read back. */
export const JOURNAL_LINE_CHARS_MAX = 1024 * 1024
/** Numbers of a hunt group. */
export const ESCALATION_NUMBERS_MAX = 10
/** Attempts to reach a human that one call's record keeps. */
export const ESCALATION_ATTEMPTS_MAX = 50
/** Attempts to hang a call up by REST; then its leg is left to the carrier's timeouts. */
export const HANGUP_TRIES_MAX = 3

// --- media workers ------------------------------------------------------------------------------------------
/** Period of the tick of each media worker, and of the main thread's playout. docs/adr/0006. */
export const TICK_MS = 5
/** Period of the main thread's tick while no call has a stream: it only watches deadlines of seconds then. */
export const TICK_WITHOUT_STREAM_MS = 50
/**
 * How long after the workers' tick the main thread's tick comes. With less, the frames of a full worker miss it and
 * wait for the next one; with more, every frame waits longer than it must. docs/LATENCY.md.
 */
export const PLAYOUT_TICK_PHASE_MS = 2.5
/** How often a process measures its load, to refuse calls while it has too much. */
export const LOAD_SAMPLE_MS = 1000
/** Samples in a row beyond a bound after which calls are refused, and within it after which they are taken again. */
export const LOAD_REFUSE_SAMPLES = 5
export const LOAD_ADMIT_SAMPLES = 5
/** A tick that begins this late counts as late: two frames, of a lead that is 100 ms or more. */
export const TICK_LATE_MS = 40
/** Calls that one media worker carries at most. */
export const CALLS_PER_WORKER_MAX = 2000
/**
 * Calls whose shared memory is one piece: 40 MB of addresses. glibc gives pieces of 32 MB and more as fresh pages
 * whatever was freed before (mallopt(3), M_MMAP_THRESHOLD).
 */
export const CALL_SLAB_CALLS = 128
/**
 * V8's young generation in a media worker. What a call allocates lives shorter than a tick, so collecting more often
 * costs no more, and the buffers of its sockets, which lie outside of the heap until then, are given back sooner: 145
 * KB a call and pauses under 1 ms, in place of 260 KB and 6.5 ms with V8's 48 (bench L2, 60 calls).
 */
export const WORKER_YOUNG_HEAP_MB = 6
/** How often a call may be re-homed, whichever call ended the worker before. docs/ARCHITECTURE.md. */
export const REHOMES_MAX = 5
/** How often a call may go on after its node was lost: one that ends its nodes must not go through the fleet. */
export const RESUMES_MAX = 3
/**
 * How often a call is tried again after it was suspected of its worker's death or failed by its own fault.
 * docs/ARCHITECTURE.md.
 */
export const SUSPICIONS_MAX = 1
/**
 * Workers that carry one suspected call each. They are started when a call is suspected, and cost nothing before;
 * further suspects go to the shared workers.
 */
export const LONE_WORKERS_MAX = 4
/** How long such a worker stays after its call, for the next one. */
export const LONE_WORKER_IDLE_MS = 5000
/** Interval at which a worker writes its heartbeat, and at which the main thread checks it. */
export const WORKER_BEAT_MS = 100
export const WORKER_WATCH_MS = 250
/** A worker without a heartbeat for this long is ended and replaced: speech in the ring lasts 2 s (16 kHz). */
export const WORKER_SILENT_MS = 2000
/**
 * The same when the process has grown by a worker's memory bound since the heartbeat: a loop fills a gigabyte in half
 * a second.
 */
export const WORKER_GROWTH_SILENT_MS = 500
/**
 * Memory bound of one media worker, for the heap and for the buffers outside it each: a base, and an allowance per
 * call. A call was measured at 0.27 MB, two thirds of it outside the heap (bench L2-prod).
 */
export const WORKER_MEMORY_BASE_MB = 256
export const WORKER_MEMORY_CALL_MB = 1
/** Records of ended calls that the process can still show. */
export const ENDED_CALLS_KEPT = 1000
/** Call SIDs remembered, so that a late webhook of an ended call opens no new one. */
export const KNOWN_CALLS_KEPT = 50_000
/** Samples of one call's speech that may wait for another item to end: 20 s at 24 kHz. */
export const SPEECH_WAITING_SAMPLES_MAX = 20 * 24_000
/** Largest journal that is read back: four hours of a call with its audio. */
export const JOURNAL_FILE_BYTES_MAX = 1024 * 1024 * 1024
/** Journals that are replayed by one command. */
export const REPLAY_FILES_MAX = 10_000
/** Handoff posts that are pending at once, attempts of each, and the timeout of one attempt. */
export const HANDOFF_POSTS_PENDING_MAX = 1000
export const HANDOFF_POST_ATTEMPTS_MAX = 6
export const HANDOFF_POST_TIMEOUT_MS = 5000
/** How long a shutdown waits for pending handoff posts. */
export const HANDOFF_POSTS_CLOSE_MS = 3000
/** Calls that are observed at once, to learn what the carrier does after a stream. */
export const AFTER_STREAM_CALLS_MAX = 1000
/** Journals that are open at once. */
export const JOURNAL_FILES_MAX = 2000
/** Bytes of one journal that may wait for the disk. */
export const JOURNAL_PENDING_BYTES_MAX = 256 * 1024

// --- telemetry --------------------------------------------------------------------------------------------
/** Label sets of one metric; more are counted as `other`. Agents times backends of a large installation. */
export const LABEL_SETS_MAX = 500
/** How often counts of the hot path are copied into the metrics registry. */
export const METRICS_FLUSH_MS = 1000
/** Calls with series of their own on /metrics/calls; each costs Prometheus 1.4 KB for as long as it keeps it. */
export const CALL_SERIES_MAX = 2000
/** How long a call's series stay after its end: two scrapes. */
export const CALL_SERIES_LINGER_MS = 60_000
/** Calls of the archive that are found by their SID without reading its files: 150 bytes each. */
export const ARCHIVE_INDEX_MAX = 100_000
/** Largest document of the archive: a transcript at its bounds has 1.6 MB. */
export const ARCHIVE_LINE_BYTES_MAX = 8 * 1024 * 1024
/** Documents on their way to the archive's thread, and those that wait there for a disk that is full. */
export const ARCHIVE_DOCUMENTS_PENDING_MAX = 10_000
export const ARCHIVE_BACKLOG_MAX = 1000
/**
 * Attempts to take DATA_DIR when several gateways start at once: each failed one means that another process got
 * further.
 */
export const DATA_FOLDER_LOCK_ATTEMPTS_MAX = 20
/**
 * How often the record of a live call is written to disk: for each call at most every 2 s, over all calls one every 50
 * ms. Composing one takes 0.2 ms in a conversation of a minute and 1.5 ms in a long one: at most 3 % of the main
 * thread.
 */
export const OPEN_RECORD_EVERY_MS = 2000
export const OPEN_RECORDS_SWEEP_MS = 50
/** Records of live calls on their way to the archive's thread at once; beyond it, a record is written later. */
export const OPEN_RECORDS_PENDING_MAX = 200
/** An archive's thread that died is replaced after this. */
export const ARCHIVE_RESTART_MS = 1000
/** Bytes of all recordings that may wait for the disk: 100 calls for 10 s at 16 kHz. */
export const RECORDING_PENDING_BYTES_MAX = 64 * 1024 * 1024
/** Audio of one recording in one write: 64 KB at 16 kHz. */
export const RECORDING_BATCH_MS = 1000
/** A page of metrics is rendered at most this often; requests in between get the last one. */
export const SCRAPE_REUSE_MS = 250
/** How long a scrape may hold up the main thread in one piece, and how many calls it writes in one. */
export const SCRAPE_SLICE_MS = 1
export const SCRAPE_SLICE_CALLS = 500
/** Marks of a call that wait for one message to the main thread, and how often that is sent at most. */
export const MARKS_PER_MESSAGE_MAX = 64
export const MARKS_PASSED_MS = 250
/** Decisions that a record keeps of each kind, the newest. */
export const STOPS_KEPT_PER_KIND = 50
/** Onsets of sound on the outbound track that can be matched with a turn, and how long a turn waits for one. */
export const EAR_ONSETS_KEPT = 16
export const EAR_WAIT_MS = 2000
/** Refusals that `GET /api/calls` still shows. */
export const REFUSALS_KEPT = 200
/** Spans of one call: they are made at its end, between two ticks. */
export const SPANS_PER_CALL_MAX = 256
/** Spans that wait for the trace collector; more are dropped and counted. */
export const SPANS_QUEUED_MAX = 8192
/** Spans of one request: serialising them must not hold up a tick. */
export const SPANS_PER_EXPORT = 64
export const SPAN_EXPORT_EVERY_MS = 500
/** A trace collector that does not answer within this has failed. */
export const SPAN_EXPORT_TIMEOUT_MS = 5000
/** How long a stopping process waits for the export of its last spans. */
export const SPANS_LAST_MS = 2000

// --- agents -----------------------------------------------------------------------------------------------
/** Largest agent file that is read, and how many of them. A page of instructions is 4 KiB. */
export const AGENT_FILE_BYTES_MAX = 256 * 1024
export const AGENTS_MAX = 200
/** Deepest nesting of an agent file, and how many aliases (`*name`) it may resolve: no file grows in memory. */
export const AGENT_DEPTH_MAX = 24
export const AGENT_ALIASES_MAX = 64
/** Mistakes that are reported of one folder before the rest is only counted. */
export const AGENT_ERRORS_MAX = 100
/** Mistakes of the settings that are listed at once. */
export const SETTINGS_ERRORS_MAX = 100
/** Tools of one agent, arguments of one tool, and how deep their schema may be. */
export const AGENT_TOOLS_MAX = 40
export const TOOL_PARAMETERS_MAX = 40
export const TOOL_PARAMETERS_DEPTH_MAX = 4
/** All arguments of one tool call as JSON, and any text in them. */
export const TOOL_TEXT_CHARS_MAX = 8192
/** Deadline of a tool unless the agent says otherwise: a caller bears 5 s with one filler. */
export const TOOL_TIMEOUT_MS = 5000
/** Largest answer of a tool's API that is read, how deep its JSON may be, and how much of it a model is given. */
export const TOOL_RESPONSE_BYTES_MAX = 256 * 1024
export const TOOL_RESPONSE_DEPTH_MAX = 32
export const TOOL_RESULT_CHARS_MAX = 16 * 1024
/** How long the store keeps the key of an effect, and the largest result, as JSON, that is kept with it. */
export const EFFECT_TTL_MS = 24 * 3_600_000
export const EFFECT_RESULT_BYTES_MAX = 4096
/** Keys of effects that one process remembers, and the characters of their results together. */
export const EFFECT_KEYS_KEPT = 10_000
export const EFFECT_CHARS_KEPT = 16 * 1024 * 1024
/** Redirects that a tool follows, and how often an idempotent one is tried. */
export const TOOL_REDIRECTS_MAX = 2
export const TOOL_ATTEMPTS_MAX = 2
/** Sockets that one HTTP client, as each worker has one, keeps open to one host. */
export const HTTP_SOCKETS_MAX = 64
/**
 * Knowledge files of one agent, all their bytes, and the passages in them; one passage, and what a search gives back.
 */
export const KNOWLEDGE_FILES_MAX = 20
export const KNOWLEDGE_BYTES_MAX = 1024 * 1024
export const KNOWLEDGE_PASSAGES_MAX = 2000
export const KNOWLEDGE_PASSAGE_CHARS_MAX = 1200
export const KNOWLEDGE_RESULTS_MAX = 3
export const KNOWLEDGE_QUERY_CHARS_MAX = 300
/** Calls at once that an agent's file may allow. */
export const AGENT_CALLS_MAX = 1_000_000
/** Modules of one agent's tools. */
export const AGENT_MODULES_MAX = 10
/**
 * A caller who is not understood hears us within 8 s. After the first limit, sound without words counts as ended, so
 * that the backend answers. If it has not answered by the second, the gateway asks, and has one second left to speak.
 */
export const ANSWER_UNHEARD_MS = 5500
export const ASK_UNHEARD_MS = 7000
/** How long somebody who is understood may speak without a pause. */
export const UNDERSTOOD_SPEECH_MS_MAX = 90_000
/** Numbers whose wrong answers to verification questions are remembered: about 10 MB when full. */
export const VERIFICATION_NUMBERS_MAX = 50_000
/** Questions that may be asked to verify a caller, and words of a rule. */
export const VERIFICATION_QUESTIONS_MAX = 6
export const RULE_PHRASES_MAX = 100
/** Rules on what an agent claims to have done, all their phrases together, and lists of words. */
export const CLAIM_RULES_MAX = 40
export const CLAIM_PHRASES_MAX = 300
export const CLAIM_LISTS_MAX = 20
/** Words that a `*` of a phrase stands for, and words of a phrase with its lists. */
export const CLAIM_GAP_WORDS_MAX = 8
export const CLAIM_PHRASE_WORDS_MAX = 200
/** Claims of one call that are judged, and corrections that the model is asked for. */
export const CLAIMS_MAX = 100
export const CLAIM_CORRECTIONS_MAX = 3
/** Edits of the agents folder that come closer together than this are one. */
export const AGENTS_SETTLE_MS = 300

// --- backends ---------------------------------------------------------------------------------------------
/**
 * Largest message of a model's service that is read: 60 s of 24 kHz audio as base64. A larger one is dropped and
 * counted.
 */
export const BACKEND_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
/** Most audio of an answer that waits until it is known whether the caller wants one: a minute of it, as base64. */
export const BACKEND_DOUBT_BYTES_MAX = BACKEND_MESSAGE_BYTES_MAX
/** Largest message that is accepted at all; the socket is closed on more. */
export const BACKEND_FRAME_BYTES_MAX = 32 * 1024 * 1024
/** Unsent bytes of one backend socket beyond which caller audio waits: 8 s of 24 kHz audio as base64. */
export const BACKEND_UNSENT_BYTES_MAX = 512 * 1024
/** Caller audio that waits for a backend that is not ready or not taking any; the oldest goes. */
export const BACKEND_WAITING_AUDIO_MS = 10_000
/** Texts that wait for a backend that is not ready. */
export const BACKEND_WAITING_TEXTS_MAX = 16
/** Caller audio before detected speech that goes to a backend without voice detection of its own, at least. */
export const BACKEND_PRE_ROLL_MS = 400
/**
 * The same at most. Speech over the agent is reported only when it interrupts, up to a second after it began: "mm-hm"
 * has less voice than that (`bargeIn.backchannel.maxMs`), with its pauses.
 */
export const BACKEND_PRE_ROLL_MS_MAX = 1200
/** From the first byte to a session that takes audio. */
export const BACKEND_CONNECT_MS = 8000
/** A close that the other side does not answer is cut after this. */
export const BACKEND_CLOSE_MS = 700
/** Services whose newest TLS session a thread keeps for the next connection; a ticket is 2 KB at most. */
export const BACKEND_TLS_SESSIONS_KEPT = 16
/** A backend socket that was silent this long is pinged, and is dead when it is silent once more. */
export const BACKEND_PING_MS = 10_000
/** Responses, items and tool calls of one session that a backend remembers, to recognise late messages. */
export const BACKEND_RESPONSES_KEPT = 32
export const BACKEND_ITEMS_KEPT = 64
export const BACKEND_TOOL_CALLS_KEPT = 256
/** Messages to Gemini that are kept to be sent again to the session that resumes: 10 s in messages of 20 ms, and texts. */
export const GEMINI_UNCONSUMED_MESSAGES_MAX = 600
/** Services of which a worker knows whether they take transparent resumption. */
export const GEMINI_HOSTS_MAX = 32
/** Characters of conversation history that a new session gets, newest first. */
export const BACKEND_HISTORY_CHARS_MAX = 32 * 1024
/** A tool's arguments and its answer, as text. */
export const BACKEND_TOOL_TEXT_CHARS_MAX = 64 * 1024
/** Characters of one transcript that are kept while it grows. */
export const BACKEND_TRANSCRIPT_CHARS_MAX = 8192
/** A service's error text: bytes that are read, and characters that are kept. */
export const BACKEND_FAULT_BYTES_MAX = 8192
export const BACKEND_FAULT_CHARS_MAX = 200
/**
 * How often a request for a response is repeated when the service refuses it because another one runs, and the pause
 * between.
 */
export const BACKEND_CREATE_TRIES_MAX = 5
export const BACKEND_CREATE_PAUSE_MS = 250
/** DTMF digits within this time of each other go to the model as one entry, and the most digits of an entry. */
export const BACKEND_KEYS_PAUSE_MS = 1500
export const BACKEND_KEYS_MAX = 20

// --- failover ---------------------------------------------------------------------------------------------
/** The most unanswered caller audio that is kept for another backend, and the size of its pieces in memory. */
export const INPUT_REPLAY_MS = 10_000
export const INPUT_REPLAY_CHUNK_MS = 100
/** Chunks that are made at once, because one with memory of its own takes some 350 B more. */
export const INPUT_REPLAY_SLAB_CHUNKS = 16
/** Free chunks that one worker keeps for its calls: 0.8 MB at 16 kHz. */
export const INPUT_REPLAY_SPARE_CHUNKS_MAX = 256
/**
 * Speech is reported up to 1.2 s after its first sample (over the agent's voice), and includes the 400 ms before that
 * sample.
 */
export const INPUT_REPLAY_MARGIN_MS = 1700
/** Utterances, DTMF digits and texts of one call that wait for their answer. */
export const OPEN_INPUTS_MAX = 64
/** Sessions of backends that a call's record names. */
export const BACKEND_SESSIONS_KEPT = 32
/** Replacements of one call's backend that are made for a fault; rotations do not count. */
export const FAILOVERS_MAX = 8
/** A backend that has not got ready after this is given up while there is another. */
export const FAILOVER_CONNECT_MS = 3000
/** A backend that does not answer for this long is replaced. Half of the session's own limit. */
export const FAILOVER_STALL_MS = 6000
/** Sessions of a call that are replaced because they do not hear the caller: after these the line may be at fault. */
export const FAILOVER_DEAF_MAX = 2
/** How long a caller waits in silence while a backend is being replaced. */
export const FAILOVER_HOLD_MS = 1500
/** Answers that may fail one after another before another backend is asked. */
export const FAILOVER_RESPONSES_FAILED_MAX = 2
/** A backend that failed within this call is not asked again within this, while there is another. */
export const FAILOVER_REST_MS = 60_000
/**
 * How long both sides are quiet before a session is rotated, how often that is looked for, and the tries of one
 * rotation.
 */
export const ROTATION_QUIET_MS = 400
export const ROTATION_POLL_MS = 200
export const ROTATION_TRIES_MAX = 5
/**
 * A session that gives no sign of its end is rotated this long before it; with this much left it is not waited any
 * longer.
 */
export const ROTATION_LEAD_MS = 60_000
export const ROTATION_LAST_MS = 2000
/** Pause before a failed standby is tried again, and the number of tries. */
export const STANDBY_RETRY_MS = 30_000
export const STANDBY_TRIES_MAX = 5
/** Circuits of one worker, one for each backend by name. */
export const CIRCUITS_MAX = 64
/** A circuit's own numbers: `src/backends/failover/circuit-breaker.ts`. */
export const CIRCUIT_FAILURES_TO_OPEN = 3
export const CIRCUIT_OPEN_MS = 5000
export const CIRCUIT_OPEN_MS_MAX = 120_000
export const CIRCUIT_FINAL_OPEN_MS = 300_000
/** A probing call that reports nothing is replaced by the next call after this. */
export const CIRCUIT_PROBE_MS_MAX = 30_000
/** A key with less than this share of a limit left takes no new session: its first answers would be refused. */
export const RATE_LIMIT_SPARE_RATIO = 0.01
/** Longest time that a reported limit keeps new sessions away. */
export const RATE_LIMIT_REST_MS_MAX = 120_000
/** Limits of one service that are kept. */
export const RATE_LIMITS_MAX = 8
/** A call whose budget is spent has this long for its goodbye. */
export const BUDGET_GOODBYE_MS = 15_000

// --- embedded speech --------------------------------------------------------------------------------------
/** Speech workers of one process, and the decoders of each (28 MB and 190 ms each). */
export const SPEECH_THREADS_MAX = 4
export const SPEECH_DECODERS_DEFAULT = 4
/** How long speech workers that started for a call stay without one: a start takes a second of processor time. */
export const SPEECH_IDLE_MS = 10 * 60_000
/** Sessions of one speech worker; most of them are silent at any moment. */
export const SPEECH_SESSIONS_PER_THREAD = 500
/** Utterances that wait for a decoder in one worker; more are refused with SPEECH_BUSY. */
export const SPEECH_WAITING_MAX = 16
/** Longest utterance, 90 s of samples at 8 kHz, as long as a caller may speak; what follows is dropped and counted. */
export const SPEECH_UTTERANCE_SAMPLES_MAX = 8 * UNDERSTOOD_SPEECH_MS_MAX
/** Utterances of one call that may be under way: the one that is decoded and the one that has begun. */
export const SPEECH_UTTERANCES_PER_CALL_MAX = 3
/** Texts of one call that may be spoken at once, and the characters of each. */
export const SPEECH_SAYINGS_MAX = 16
export const SPEECH_TEXT_CHARS_MAX = 4000
/** Sentences of one worker that wait to be made ahead of time; the oldest go. */
export const SPEECH_PREPARE_MAX = 64
/** Longest JSGF grammar. */
export const SPEECH_GRAMMAR_CHARS_MAX = 64 * 1024
/** Speech of fixed prompts that each worker keeps: about eight minutes at 16 kHz. */
export const SPEECH_PROMPT_CACHE_BYTES = 16 * 1024 * 1024
/** New sessions that one call is given after its speech workers died. */
export const SPEECH_REOPENS_MAX = 3

// --- embedded dialogue ------------------------------------------------------------------------------------
/** Checked `offline:` blocks that a worker keeps: one for each agent. */
export const DIALOGUES_KEPT_MAX = 64
/** States, steps of a state, and phrases of an `offline:` block. */
export const DIALOGUE_STATES_MAX = 200
export const DIALOGUE_STEPS_MAX = 40
export const DIALOGUE_PHRASES_MAX = 100
/** Steps that one event may run before the dialogue counts as running in a circle. */
export const DIALOGUE_STEPS_PER_EVENT_MAX = 200
/** Tool calls of one dialogue that may be unanswered. */
export const DIALOGUE_CALLS_PENDING_MAX = 8
/** Known values (a caller's order numbers) that go into one grammar. */
export const DIALOGUE_KNOWN_VALUES_MAX = 50
/** DTMF digits that are kept while a caller enters a number. */
export const DIALOGUE_KEYS_MAX = 20

// --- edge -------------------------------------------------------------------------------------------------
/** Largest block of request headers: `headerMetadata` may travel there; uWebSockets.js stops at 4 KiB unless told. */
export const HTTP_HEADERS_BYTES_MAX = 16 * 1024
/** A request's body must be here after this; the carrier waits 10 s for its answer at most. */
export const BODY_DEADLINE_MS = 5000
/**
 * Bodies that may be on their way at once, 16 KiB each at most; one more replaces the unproven body that has waited
 * longest.
 */
export const BODIES_PENDING_MAX = 2000
/** Of these, bodies of one address that nothing has proven yet. */
export const BODIES_PER_ADDRESS_MAX = 500
/**
 * An answer of this size does not fit into uWebSockets.js's buffer of 16 KiB (`CORK_BUFFER_SIZE`) and leaves at once.
 */
export const REFUSAL_FLUSH_BYTES = 16 * 1024
/** Entries of `X-Forwarded-For` that are looked at, from the right, and networks of trusted proxies. */
export const FORWARDED_HOPS_MAX = 32
export const TRUSTED_PROXIES_MAX = 64
/** Secrets that may have signed a webhook: a forged signature costs one HMAC over 16 KiB for each. */
export const WEBHOOK_SECRETS_MAX = 16
/** Secrets in TOKEN_SECRET: two while one is replaced by the other. */
export const TOKEN_SECRETS_MAX = 2
/** Failed requests (unsigned, malformed, refused) allowed for one address, and addresses that are remembered. */
export const FAILED_REQUESTS_PER_S = 20
export const FAILED_REQUESTS_BURST = 100
export const FAILED_REQUESTS_ADDRESSES_MAX = 10_000
/** Log lines about refused requests, of webhooks or between nodes, for each reason. */
export const REJECTION_LINES_BURST = 5
export const REJECTION_LINES_PER_S = 0.1
/** Reasons of one such log; there are about twenty. */
export const REJECTION_REASONS_MAX = 64
/** Wrong tokens of one address that the ops port answers at once, and how many more of them each second later on. */
export const OPS_WRONG_TOKENS_BURST = 10
export const OPS_WRONG_TOKENS_PER_S = 0.1
export const OPS_WRONG_TOKENS_ADDRESSES_MAX = 1000
/**
 * How long the answer to each further one is delayed, and how many wait at once; beyond it the connection is closed.
 */
export const OPS_SLOWED_MS = 1000
export const OPS_SLOWED_MAX = 100
/** Webhooks of one call: its lifecycle has about ten, and each of STREAM_OFFERS_MAX streams that do not open six. */
export const CALL_WEBHOOKS_PER_S = 5
export const CALL_WEBHOOKS_BURST = 60
/** Calls of which the edge remembers what it answered, and for how long the tokens of their other URLs are good. */
export const ANSWERED_CALLS_MAX = 20_000
export const CONTINUATION_TOKEN_TTL_S = 6 * 3600
/** Audio tokens that are remembered as used; each is good for a minute, so this is enough for 800 calls a second. */
export const USED_TOKENS_MAX = 50_000
/** Event ids that are remembered, to notice repetitions; a minute's worth of a large installation. */
export const EVENT_IDS_MAX = 20_000
/** How often all audio sockets and waiting bodies are looked at. */
export const EDGE_SWEEP_MS = 250
/** How often the certificate of the public port is read again, to see whether it has changed. */
export const CERTIFICATE_LOOK_MS = 10_000
/** Certificates of the public port of which connections are still open; those of an older one are closed. */
export const PUBLIC_APPS_MAX = 4
/**
 * File descriptors that connections may not have: an eighth, at most 256. They are for the backends, tools and files of
 * live calls and for the ops port.
 */
export const DESCRIPTORS_RESERVED_SHARE = 1 / 8
export const DESCRIPTORS_RESERVED_MAX = 256
/** The server pings each carrier socket this often, and uWebSockets.js gives one up that is silent for the second. */
export const SOCKET_PING_MS = 15_000
export const SOCKET_IDLE_S = 32
/** Unsent bytes of one socket: 2 s of 16 kHz audio beyond what the kernel holds. More ends the call. */
export const SOCKET_BACKPRESSURE_BYTES_MAX = 64 * 1024
/** After an empty binary frame and no audio for this long, the carrier waits for us to close. */
export const CARRIER_FLUSHED_MS = 1000
/** Text frames of one socket in one rate window; the carrier sends a handful a call. */
export const TEXT_FRAMES_PER_WINDOW_MAX = 500
/** At shutdown: from the close frames to cutting the connections. */
export const EDGE_GOODBYE_MS = 200
/** Ended calls that one page of the API lists. */
export const API_CALLS_MAX = 1000
/** Live calls, and ended ones, that a list over all nodes has; each node sends as many. */
export const OPS_LIST_MAX = 500
/**
 * For reading the agents folder, or trying a tool, for an operator, with the start of the thread; a tool's own deadline is
 * at most 15 s.
 */
export const AGENTS_THREAD_MS = 20_000
/** Heap of that thread. */
export const AGENTS_THREAD_MEMORY_MB = 256
/** What the agents folder holds is not read again before this, as long as its files are the same, of which it has at most so many. */
export const AGENTS_VIEW_KEPT_MS = 60_000
export const AGENTS_VIEW_FILES_MAX = 2000
/** How long a node waits for another's answer to an operator. */
export const OPS_PEER_MS = 1000
/** Streams of server-sent events at once, of all pages together; each browser tab has one or two. */
export const OPS_STREAMS_MAX = 64
/** How often the list of live calls is compared with what its watchers have, and how often one watched call is. */
export const OPS_LIVE_LIST_MS = 1000
export const OPS_LIVE_CALL_MS = 250
/** Another node is asked for its call this often. */
export const OPS_LIVE_CALL_ELSEWHERE_MS = 1000
/** Live calls of this node that a watcher gets; of each other node it gets OPS_LIST_MAX. */
export const OPS_LIVE_ROWS_MAX = 10_000
/** A comment is sent after this time without news, so that a lost connection is noticed. */
export const OPS_STREAM_BEAT_MS = 5000
/** A watcher that reads nothing for this long is cut off. */
export const OPS_STREAM_STALLED_MS = 15_000
/** Sessions of the console: one that may act, and one that may only read. */
export const CONSOLE_ACT_SESSION_S = 8 * 3600
export const CONSOLE_READ_SESSION_S = 24 * 3600
/** Calls from browsers at once. */
export const SOFTPHONE_CALLS_MAX = 8
/** Messages of the browser's socket: a tenth of a second of audio has 3,200 bytes, and a typed sentence less. */
export const SOFTPHONE_MESSAGE_BYTES_MAX = 8 * 1024
/** Unsent audio of one browser, 2 s; more frames are dropped. */
export const SOFTPHONE_BACKLOG_BYTES_MAX = 64 * 1024
/** Typed sentences that wait to be spoken, and their length. */
export const SOFTPHONE_TEXTS_MAX = 20
export const SOFTPHONE_TEXT_CHARS_MAX = 300
/**
 * Sound of the microphone, at the carrier's end: it is played once this much is there, and cut to it when there is
 * more than the bound (a browser's clock that runs fast, or a tab that was held up).
 */
export const MICROPHONE_LEAD_MS = 60
export const MICROPHONE_HELD_MS_MAX = 400
/** How long a node waits for another that reads its whole archive to erase calls, and the command that asks for it. */
export const ERASE_PEER_MS = 120_000
/** Calls of a masked number about which one erasure asks the carrier. */
export const ERASE_CARRIER_ASKS_MAX = 200

// --- several processes on one port ------------------------------------------------------------------------
/** Gateway processes of one `serve --processes`. */
export const GATEWAY_PROCESSES_MAX = 64
/**
 * Delay before a process that died is started again, its maximum, and the run time below which the delay is doubled.
 */
export const PROCESS_RESTART_MS = 250
export const PROCESS_RESTART_MS_MAX = 30_000
export const PROCESS_SHORT_LIFE_MS = 10_000
/** Short runs of one process in a row after which all processes end. */
export const PROCESS_SHORT_LIVES_MAX = 5
/** After the last call of a drain, for the carrier's webhooks about its end, and for the answer to whoever commanded it. */
export const LAST_WEBHOOKS_MS = 500
/** A process has this long to begin taking calls, and this long beyond DRAIN_TIMEOUT to end. */
export const PROCESS_START_MS_MAX = 120_000
export const PROCESS_STOP_GRACE_MS = 30_000

// --- media ------------------------------------------------------------------------------------------------
/** Resamplers that one worker may have open: two directions of every call it may carry. */
export const RESAMPLER_STREAMS_MAX = 4000
/** Caller frames that the jitter buffer holds: the carrier's own 2 s and one more. */
export const JITTER_FRAMES_MAX = 150
/**
 * Frames of a call that wait in the memory of the frame detector, which reads them there. More wait in memory of their
 * own.
 */
export const JITTER_SLOTS = 8
/** Deepest delay that the jitter buffer learns; what comes later is a stall. */
export const JITTER_DEPTH_MS_MAX = 160
/** Audio of a `both_tracks` stream that waits until its channels are known. docs/PROTOCOL.md. */
export const CHANNEL_DECISION_MS_MAX = 400
/** A source that stays dry this long after an underrun lets the carrier's hold-back out with zeros. */
export const PLAYOUT_DRY_TAIL_MS = 200

// --- outbound ---------------------------------------------------------------------------------------------
/** Calls that ring at once. */
export const OUTBOUND_CALLS_WAITING_MAX = 200
/** A call without a message from the carrier is hung up this long after its ringing time. */
export const OUTBOUND_GRACE_MS = 5000

// --- sautikit-api -----------------------------------------------------------------------------------------
/** One request to the carrier's REST API, how often an idempotent one is tried, and the longest pause between. */
export const CARRIER_API_TIMEOUT_MS = 5000
export const CARRIER_API_ATTEMPTS_MAX = 3
export const CARRIER_API_PAUSE_MS_MAX = 10_000
/** Largest answer of the carrier's REST API that is read; a page of 100 calls has about 100 KiB. */
export const CARRIER_API_RESPONSE_BYTES_MAX = 1024 * 1024
/** Pages of one list that are fetched. */
export const CARRIER_API_PAGES_MAX = 100
/** Calls whose detail record is waited for at once, and requests for them that are under way at once. */
export const CARRIER_DETAILS_PENDING_MAX = 5000
export const CARRIER_DETAILS_AT_ONCE_MAX = 4
/** When a call's detail record is asked for, after the call's end: the carrier writes it within seconds, or late. */
export const CARRIER_DETAIL_AFTER_MS: readonly number[] = [2000, 8000, 30_000, 120_000, 600_000]
/** Calls of an earlier run that began this long ago, and whose detail record had not come, are asked for again. */
export const CARRIER_DETAIL_RESUME_MS = 3_600_000
/** When the carrier's recording of a call is asked for, and the longest pause that the carrier may ask for. */
export const CARRIER_RECORDING_AFTER_MS: readonly number[] = [8000, 30_000, 90_000, 300_000]
/** Largest recording that is kept: three hours of stereo at 8 kHz, 16 bit, are 345 MB. */
export const CARRIER_RECORDING_BYTES_MAX = 400 * 1024 * 1024
export const CARRIER_RECORDING_TIMEOUT_MS = 300_000

// --- simulator --------------------------------------------------------------------------------------------
/** Most calls that one simulator runs. Use another process for more. */
export const SIMULATED_CALLS_MAX = 200
/** Scenario files of one run, and the size of one. */
export const SCENARIOS_MAX = 1000
export const SCENARIO_FILE_BYTES_MAX = 256 * 1024
/** Simulated calls of one run at once, and how often each scenario is repeated. */
export const SCENARIO_JOBS_MAX = 64
export const SCENARIO_REPEATS_MAX = 1000

// --- the fleet's store and its nodes --------------------------------------------------------------------------

/** Every operation of the call store, in milliseconds. A webhook waits for at most three of them. */
export const STORE_DEADLINE_MS = 250
/** After an operation that timed out, the store is not asked for this long. */
export const STORE_REST_MS = 1000
/**
 * The same of operations that no new caller waits for: heartbeats, what is kept of calls, and the recovery of a call,
 * whose caller has nobody else. Shorter than a balancer waits for a gateway, and a fifth of what the carrier waits.
 */
export const STORE_PATIENCE_MS = 2000
/** After an operation of a recovery that the store did not answer, the next one, and when no more is sent. */
export const RECOVERY_AGAIN_MS = 500
export const RECOVERY_WITHIN_MS = 4000
/** A claim that its owner does not confirm within this time is free again. */
export const CLAIM_TTL_MS = 3000
/** Entry of a live call; every write renews it. */
export const CALL_TTL_MS = 2 * 3_600_000
/** Entry of a call that is over, for webhooks that come late. */
export const OVER_TTL_MS = 3_600_000
/** State and log of one call in the store. */
export const STORED_CALL_BYTES_MAX = 256 * 1024
/**
 * How often the state of one call is written at most; how often the calls are looked at that have to be, and how long
 * the main thread may take for that, which has a playout tick to keep.
 */
export const KEEP_EVERY_MS = 1000
export const KEEP_SWEEP_MS = 20
export const KEEP_SWEEP_BUSY_MS = 1
/** A call that has not changed is written again after this, so that its entry does not end. */
export const KEEP_RENEW_MS = CALL_TTL_MS / 4
/** Calls that are over whose entries have not been deleted yet; beyond it the oldest are left to their TTL. */
export const KEEP_OVER_MAX = 10_000
/** Streams of one call that attach in its life; each is a single use of a token. */
export const STORED_STREAMS_MAX = 64
/** What a store in a process's memory holds: calls, those that are over too, and values written once. The oldest goes. */
export const MEMORY_CALLS_MAX = 100_000
export const MEMORY_ONCE_MAX = 100_000
/** Operations that one process waits for on the channel to the supervisor's store. */
export const STORE_WAITING_MAX = 1000
/** How long a start waits for Redis before it goes on without. */
export const REDIS_START_MS_MAX = 2000
/** Connecting to Redis or to a Sentinel, and the longest pause between two attempts. */
export const REDIS_CONNECT_MS_MAX = 1000
export const REDIS_RETRY_MS_MAX = 500
/** Sentinels of one URL. */
export const REDIS_SENTINELS_MAX = 16
/** A node whose heartbeat stands still for this long, in the store's time, is deleted from it. */
export const NODE_FORGET_MS = 10 * 60_000
export const HEARTBEAT_MS = 2000
/** A node whose heartbeat has stood still for this long, on the observer's monotonic clock, is suspect. */
export const SUSPECT_MS = 6000
/**
 * Probes of a suspect that all stay unanswered for this long are evidence of its death: 20 s, and HEARTBEAT_MS, since its
 * last heartbeat may be so much older than the moment at which it fell silent. One that stands still for 25 s keeps its
 * calls, whatever the moment.
 */
export const PROBES_SILENT_MS = 22_000
/** A node that reaches neither the store nor another node for this long gives its calls up. */
export const ISOLATED_MS = 20_000
/**
 * A node that others may have missed confirms each of its calls before it acts, until this long after it is back: by then
 * they have seen its heartbeat, and no claim on the old evidence is under way.
 */
export const DOUBT_MS = 10_000
/** Calls of one node that are being confirmed at once. */
export const CONFIRMS_AT_ONCE_MAX = 64
/** How often the calls of one dead node are looked for, and the pause between; claims are sent in its first half. */
export const TAKEOVERS_MAX = 6
export const TAKEOVER_PAUSE_MS = 10_000
/** A node whose clock is further from the store's is not ready. */
export const CLOCK_SKEW_MS_MAX = 30_000
/** Nodes of one fleet. */
export const NODES_MAX = 256
/** Connecting to another node, and its answer to a forwarded webhook. */
export const PEER_CONNECT_MS = 200
export const PEER_ANSWER_MS = 500
/** The same where no carrier waits, before a call is taken from a node that is there and slow. */
export const BUSY_ANSWER_MS = 2000
/** How long the nodes may take to find an owner for a new call; then its caller hears the fallback. */
export const FALLBACK_AFTER_MS = 1000
/** Calls that a node gave up, for webhooks that still come to it. */
export const GIVEN_UP_CALLS_MAX = 10_000
/** Calls of a dead node that a survivor works on at once. */
export const CALLS_RECOVERED_AT_ONCE_MAX = 8
/** Calls of dead nodes that a survivor has taken over and the carrier may still ask for. */
export const TAKEN_CALLS_MAX = 10_000
/** A caller is rung again once per root call. */
export const CALLBACK_ONCE_MS = 24 * 3_600_000
/**
 * A caller is not rung back when the state of their call is older. It is stored with each change and at least every
 * KEEP_RENEW_MS, and a lost node is found out within half a minute.
 */
export const CALLBACK_AGE_MS_MAX = KEEP_RENEW_MS + 60_000
/**
 * The internal port unless INTERNAL_PORT says another. With the default ports it is none of those that
 * GATEWAY_PROCESSES_MAX processes and the spare place count up to.
 */
export const INTERNAL_PORT_DEFAULT = 9600
/** Requests of one node to others that wait for their answers at once. */
export const PEER_REQUESTS_MAX = 1000
/** Body of a request between nodes, and of its answer. */
export const PEER_BODY_BYTES_MAX = 1024 * 1024
/** Connections to the internal listener, its request headers, and how long one may take to come, body included. */
export const PEER_CONNECTIONS_MAX = 1024
export const PEER_HEADERS_BYTES_MAX = 8 * 1024
export const PEER_HEADERS_MS = 2000
export const PEER_BODY_MS = 5000
/** An idle connection is kept this long: longer than the client keeps it, so that none dies under a request. */
export const PEER_IDLE_MS = 10_000
/** Nonces of requests that are remembered for as long as one could be replayed: about 1,600 requests a second. */
export const PEER_NONCES_MAX = 100_000
/** How long an effect waits until this node may act for its call. */
export const ACT_WAIT_MS = 500
/** Orders and calls that this node has placed and that have not opened a stream. */
export const RESERVED_CALLS_MAX = 10_000
/** How often a node looks whether a claim of another has become a call. */
export const CLAIM_LOOK_MS = 50
/**
 * How often a call is offered a stream, and how long the gateway waits before it offers one again that the carrier could
 * not open: a balancer that has just started may not know the gateway's address yet.
 */
export const STREAM_OFFERS_MAX = 8
export const STREAM_AGAIN_MS = 400
/** How often, and for how long, a question after the stream waits for the end of a socket that is still open here. */
export const STREAM_END_LOOK_MS = 20
export const STREAM_END_WAIT_MS = 400
/** A carrier sends a frame every 20 ms, silence too: a socket without any for this long has lost its other end. */
export const STREAM_QUIET_MS = 300

/**
 * How often, and how many times, a node asks whether another has the record of a call that ended here with its process or
 * its ownership. Longer together than the others take to find a node dead (SUSPECT_MS + PROBES_SILENT_MS).
 */
export const LEFT_CALL_LOOK_MS = 5000
export const LEFT_CALL_LOOKS_MAX = 12

/** After an emptied store was noticed: by then every node has noticed it too and has written its calls again. */
export const STORE_REWRITTEN_MS = 3 * HEARTBEAT_MS

/** Grammars, of the conversations that were answered last, that a double of a cascade tries on what a caller says. */
export const CASCADE_DOUBLE_GRAMMARS_MAX = 8
