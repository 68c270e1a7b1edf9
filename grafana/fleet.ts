import { HALF, NODE, QUARTER, THIRD, board, curves, number, quantile, rate, table } from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

const SECONDS = 's'

/** All nodes together: is the line well, and if not, where to look next. */
export function fleet(): DashboardBuilder {
  return board({
    uid: 'mkondo-fleet',
    title: 'Mkondo: fleet',
    about: 'All gateways: calls, refusals, latencies, barge-ins.',
    rows: [
      {
        title: 'Now',
        panels: [
          number(
            { title: 'Live calls', about: 'Calls that hold a slot.', unit: 'short' },
            `sum(mkondo_calls_live{${NODE}})`,
          ),
          number(
            { title: 'Remaining capacity', about: 'How many more calls the fleet can take.', unit: 'short' },
            `sum(mkondo_call_capacity_remaining{${NODE}})`,
          ),
          number(
            { title: 'Refused, 15 min', about: 'Calls and sockets that were refused.', unit: 'short' },
            `sum(increase(mkondo_calls_refused_total{${NODE}}[15m]))`,
            { amber: 1, red: 10 },
          ),
          number(
            {
              title: 'Failed, 1 h',
              about: 'Share of ended calls that failed in the gateway or a backend.',
              unit: 'percentunit',
            },
            `sum(rate(mkondo_calls_total{${NODE},outcome="failed"}[1h])) / sum(rate(mkondo_calls_total{${NODE}}[1h]))`,
            { amber: 0.001, red: 0.01 },
          ),
          number(
            { title: 'Answer, p95', about: 'Caller stopped to first agent sound that is not a filler.', unit: SECONDS },
            `histogram_quantile(0.95, sum by (le) (rate(mkondo_turn_answer_seconds_bucket{${NODE}}[15m])))`,
            { amber: 1.25, red: 2 },
          ),
          number(
            { title: 'Draining', about: 'Nodes that accept no new calls.', unit: 'short' },
            `sum(mkondo_draining{${NODE}})`,
          ),
        ],
      },
      {
        title: 'Calls',
        panels: [
          curves(
            {
              title: 'Live calls and remaining capacity',
              about: 'By node. Without remaining capacity calls are refused.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: `mkondo_calls_live{${NODE}}`, legend: '{{instance}} live' },
              { expr: `mkondo_call_capacity_remaining{${NODE}}`, legend: '{{instance}} remaining' },
            ],
          ),
          curves({ title: 'Calls ended', about: 'By outcome.', unit: 'cps' }, THIRD, [
            { expr: rate('mkondo_calls_total', 'outcome'), legend: '{{outcome}}' },
          ]),
          curves(
            {
              title: 'Calls ended, by reason',
              about: 'Shows whether failed calls come from the carrier or from the gateway.',
              unit: 'cps',
            },
            THIRD,
            [{ expr: rate('mkondo_call_ends_total', 'reason'), legend: '{{reason}}' }],
          ),
          curves(
            {
              title: 'Refusals',
              about:
                'Calls that got words in place of an agent, and sockets that were not opened. GET /api/refusals lists them; refused calls have records.',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_calls_refused_total', 'reason'), legend: '{{reason}}' },
              {
                expr: `sum(rate(mkondo_refused_records_dropped_total{${NODE}}[$__rate_interval]))`,
                legend: 'without a record',
              },
            ],
          ),
          curves(
            {
              title: 'Calls by sample rate',
              about:
                'Calls opened at 8 and 16 kHz, and numbers whose line was forgotten early (outputSamplingRate: auto).',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_legs_total', 'rate'), legend: '{{rate}} Hz' },
              { expr: `sum(rate(mkondo_lines_forgotten_total{${NODE}}[$__rate_interval]))`, legend: 'forgotten' },
            ],
          ),
          curves(
            {
              title: 'Webhook answer, p95',
              about: 'Received to answered; the carrier times out after seconds.',
              unit: SECONDS,
            },
            THIRD,
            [{ expr: quantile(0.95, 'mkondo_webhook_seconds', 'route'), legend: '{{route}}' }],
          ),
          curves(
            {
              title: 'Webhooks rejected',
              about: 'Unsigned, stale, malformed or rate-limited; and accepted for the token in the URL alone.',
              unit: 'reqps',
            },
            THIRD,
            [
              { expr: rate('mkondo_webhook_rejected_total', 'reason'), legend: '{{reason}}' },
              { expr: rate('mkondo_webhooks_token_only_total', 'route'), legend: 'accepted by token: {{route}}' },
            ],
          ),
          curves(
            {
              title: 'Answers cut off',
              about: 'Answers of both ports that their readers did not take, or that were not sent whole, by why.',
              unit: 'reqps',
            },
            THIRD,
            [{ expr: rate('mkondo_replies_cut_total', 'why'), legend: '{{why}}' }],
          ),
          curves(
            {
              title: 'Strangers cut off',
              about:
                'Connections closed because of unproven requests, and the share of the time that such requests take.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: rate('mkondo_unproven_closed_total', 'why'), legend: '{{why}} a second' },
              { expr: rate('mkondo_unproven_work_seconds_total', ''), legend: 'share of a thread' },
            ],
          ),
          curves(
            {
              title: 'Stream set-up, p95',
              about: 'From the answered webhook to the first audio of the carrier.',
              unit: SECONDS,
            },
            THIRD,
            [{ expr: quantile(0.95, 'mkondo_stream_setup_seconds', ''), legend: 'p95' }],
          ),
        ],
      },
      {
        title: 'Nodes',
        panels: [
          curves(
            {
              title: 'Calls by owner',
              about: 'Live calls of each node, and its maximum. A cordoned or draining node gets no new calls.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: `mkondo_calls_live{${NODE}}`, legend: '{{instance}} live' },
              { expr: `mkondo_call_capacity{${NODE}}`, legend: '{{instance}} capacity' },
            ],
          ),
          curves(
            {
              title: 'Nodes by state',
              about:
                'As the nodes see each other; differing curves mean that they disagree. `mkondo fleet` has the names.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: `max by (state) (mkondo_nodes{${NODE}})`, legend: 'most {{state}}' },
              { expr: `min by (state) (mkondo_nodes{${NODE}})`, legend: 'least {{state}}' },
            ],
          ),
          curves({ title: 'Not ready', about: 'Nodes whose /readyz answers 503, by reason.', unit: 'short' }, THIRD, [
            { expr: `sum by (reason) (mkondo_not_ready{${NODE}})`, legend: '{{reason}}' },
          ]),
          curves(
            {
              title: 'Store',
              about:
                '1 while a node reaches the store that all share. Without it no call of a lost node is taken over.',
              unit: 'short',
            },
            QUARTER,
            [{ expr: `mkondo_store_up{${NODE}}`, legend: '{{instance}}' }],
          ),
          curves({ title: 'Store operations', about: 'By outcome.', unit: 'cps' }, QUARTER, [
            { expr: rate('mkondo_store_operations_total', 'outcome'), legend: '{{outcome}}' },
          ]),
          curves(
            {
              title: 'Store operations, p99',
              about: 'Each may take 250 ms; after that, calls continue without it.',
              unit: SECONDS,
            },
            QUARTER,
            [{ expr: quantile(0.99, 'mkondo_store_seconds', 'op'), legend: '{{op}}' }],
          ),
          curves(
            {
              title: 'Webhooks routed',
              about:
                'Webhooks that were not answered by the node that received them. Unanswered and orphaned ones: a node is lost.',
              unit: 'reqps',
            },
            QUARTER,
            [{ expr: rate('mkondo_webhooks_routed_total', 'result'), legend: '{{result}}' }],
          ),
          curves(
            {
              title: 'Requests between nodes',
              about: 'Sent, by result, and those that the internal port refused.',
              unit: 'reqps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_peer_requests_total', 'result'), legend: '{{result}}' },
              { expr: rate('mkondo_peer_requests_refused_total', 'reason'), legend: 'refused: {{reason}}' },
            ],
          ),
          curves(
            {
              title: 'Takeovers and conflicts',
              about:
                'Nodes and calls taken over, by evidence; entries of Redis that were not believed; calls given up, by reason; writes that came too late; calls opened while the store was down, which are claimed when it is back.',
              unit: 'cps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_takeovers_total', 'evidence'), legend: 'taken over: {{evidence}}' },
              { expr: rate('mkondo_store_ignored_total', 'what'), legend: 'not believed: {{what}}' },
              { expr: rate('mkondo_calls_given_up_total', 'why'), legend: 'given up: {{why}}' },
              { expr: `sum(rate(mkondo_store_conflicts_total{${NODE}}[$__rate_interval]))`, legend: 'conflicts' },
              { expr: `sum(rate(mkondo_calls_unclaimed_total{${NODE}}[$__rate_interval]))`, legend: 'unclaimed' },
            ],
          ),
          curves(
            {
              title: 'Calls of lost nodes and streams',
              about: 'Outcome of calls whose node was lost; streams that the carrier could not open, offered again.',
              unit: 'cps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_calls_recovered_total', 'result'), legend: '{{result}}' },
              {
                expr: `sum(rate(mkondo_streams_offered_again_total{${NODE}}[$__rate_interval]))`,
                legend: 'stream offered again',
              },
            ],
          ),
          curves(
            {
              title: 'Calls kept for other nodes',
              about:
                'Writes of the state of live calls, by result; parts that are missing, by part; results of tools that could not be stored.',
              unit: 'cps',
            },
            QUARTER,
            [
              { expr: rate('mkondo_kept_call_writes_total', 'result'), legend: '{{result}}' },
              { expr: rate('mkondo_kept_call_losses_total', 'what'), legend: 'missing: {{what}}' },
              {
                expr: `sum(rate(mkondo_effect_results_lost_total{${NODE}}[$__rate_interval]))`,
                legend: 'results lost',
              },
              {
                expr: `sum(rate(mkondo_verification_attempts_unshared_total{${NODE}}[$__rate_interval]))`,
                legend: 'verification attempts unshared',
              },
            ],
          ),
        ],
      },
      {
        title: 'Latency and barge-in',
        panels: [
          curves(
            {
              title: 'First sound',
              about: "Caller's last voiced sample to the first sound sent, filler or not. Dots are calls.",
              unit: SECONDS,
            },
            HALF,
            [
              { expr: quantile(0.5, 'mkondo_turn_response_seconds', ''), legend: 'p50' },
              { expr: quantile(0.95, 'mkondo_turn_response_seconds', ''), legend: 'p95', exemplar: true },
              { expr: quantile(0.99, 'mkondo_turn_response_seconds', ''), legend: 'p99' },
            ],
          ),
          curves(
            {
              title: 'Answer',
              about: "Caller's last voiced sample to the first sound that is not a filler.",
              unit: SECONDS,
            },
            HALF,
            [
              { expr: quantile(0.5, 'mkondo_turn_answer_seconds', ''), legend: 'p50' },
              { expr: quantile(0.95, 'mkondo_turn_answer_seconds', ''), legend: 'p95', exemplar: true },
              { expr: quantile(0.99, 'mkondo_turn_answer_seconds', ''), legend: 'p99' },
            ],
          ),
          curves(
            {
              title: 'Caller-perceived latency, p95',
              about: 'First sound and answer as the caller hears them; agents with stereo forks only.',
              unit: SECONDS,
            },
            THIRD,
            [
              { expr: quantile(0.95, 'mkondo_turn_response_ear_seconds', ''), legend: 'first sound', exemplar: true },
              { expr: quantile(0.95, 'mkondo_turn_answer_ear_seconds', ''), legend: 'answer' },
            ],
          ),
          curves(
            {
              title: 'Barge-in stop',
              about: 'First voiced sample of a committed barge-in to the last agent sample sent.',
              unit: SECONDS,
            },
            THIRD,
            [
              { expr: quantile(0.5, 'mkondo_barge_in_stop_seconds', ''), legend: 'p50' },
              { expr: quantile(0.95, 'mkondo_barge_in_stop_seconds', ''), legend: 'p95', exemplar: true },
            ],
          ),
          curves(
            {
              title: 'Barge-ins',
              about: 'Callers who spoke over the agent; those not committed were false interruptions.',
              unit: 'cps',
            },
            THIRD,
            [{ expr: rate('mkondo_barge_ins_total', 'committed'), legend: 'committed {{committed}}' }],
          ),
        ],
      },
      {
        title: 'Causes',
        panels: [
          curves(
            {
              title: 'Tick lateness, p99',
              about: 'A media worker whose ticks are late has too many calls or too little CPU.',
              unit: SECONDS,
            },
            THIRD,
            [
              {
                expr: quantile(0.99, 'mkondo_tick_lateness_seconds', 'instance, worker'),
                legend: '{{instance}} worker {{worker}}',
              },
            ],
          ),
          curves({ title: 'Backend errors', about: 'By backend and code.', unit: 'cps' }, THIRD, [
            { expr: rate('mkondo_backend_errors_total', 'backend, code'), legend: '{{backend}} {{code}}' },
          ]),
          curves(
            { title: 'Failovers', about: 'Calls that moved to another backend during the call.', unit: 'cps' },
            THIRD,
            [{ expr: rate('mkondo_backend_failovers_total', 'from, to'), legend: '{{from}} to {{to}}' }],
          ),
          curves(
            { title: 'Tools, p95', about: 'Duration of tool calls, which is that of your APIs.', unit: SECONDS },
            THIRD,
            [{ expr: quantile(0.95, 'mkondo_tool_seconds', 'tool'), legend: '{{tool}}', exemplar: true }],
          ),
          curves(
            {
              title: 'Tools that wait',
              about: 'Time to the outcome of tools that wait, p95, by outcome.',
              unit: SECONDS,
            },
            THIRD,
            [{ expr: quantile(0.95, 'mkondo_tool_wait_seconds', 'tool, outcome'), legend: '{{tool}} {{outcome}}' }],
          ),
          curves(
            {
              title: 'Tools whose outcome is not known yet',
              about: 'Tool calls that wait, those whose caller has left included.',
              unit: 'short',
            },
            THIRD,
            [{ expr: `sum by (instance) (mkondo_tool_waits_pending{${NODE}})`, legend: '{{instance}}' }],
          ),
          curves(
            {
              title: 'Outcomes of tools that wait',
              about: 'Posts to continuation URLs and polls, by result. Conflicts are two outcomes of one request.',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_tool_continuations_total', 'result'), legend: 'posted: {{result}}' },
              { expr: rate('mkondo_tool_polls_total', 'result'), legend: 'polled: {{result}}' },
            ],
          ),
          curves(
            {
              title: 'MCP servers',
              about:
                'How often servers of tools went up and down or changed their list, and attempts to connect that failed.',
              unit: 'cps',
            },
            THIRD,
            [
              {
                expr: rate('mkondo_mcp_server_events_total', 'agent, server, event'),
                legend: '{{agent}} {{server}} {{event}}',
              },
              {
                expr: rate('mkondo_mcp_connect_failures_total', 'agent, server'),
                legend: '{{agent}} {{server}} not reached',
              },
            ],
          ),
          curves(
            {
              title: 'Listeners',
              about: 'Operators who listen to live calls, and tenths of a second that slow ones lose in each second.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: `sum by (instance) (mkondo_listeners{${NODE}})`, legend: '{{instance}}' },
              { expr: rate('mkondo_listen_messages_dropped_total', 'instance'), legend: '{{instance}} lost' },
            ],
          ),
          curves({ title: 'Tools by outcome', about: 'Tool calls, by outcome.', unit: 'cps' }, THIRD, [
            { expr: rate('mkondo_tool_seconds_count', 'tool, outcome'), legend: '{{tool}} {{outcome}}' },
          ]),
          curves(
            {
              title: 'Claims that nothing supports',
              about:
                'Actions that agents claimed and no tool call did, by tool and by verdict, and numbers, prices and weekdays that nothing gave them (no-source).',
              unit: 'cps',
            },
            THIRD,
            [
              {
                expr: rate('mkondo_claims_total', 'agent, tool, verdict', ',verdict!="done"'),
                legend: '{{agent}} {{tool}} {{verdict}}',
              },
            ],
          ),
          curves(
            {
              title: 'Where calls end',
              about: 'Ended calls by the stage that they were in; agents without stages are not in it.',
              unit: 'cps',
            },
            THIRD,
            [
              {
                expr: rate('mkondo_stage_ends_total', 'agent, stage, outcome'),
                legend: '{{agent}} {{stage}} {{outcome}}',
              },
            ],
          ),
          curves(
            {
              title: 'Calls resolved, by intent',
              about:
                'Of the ended calls whose agents have `analysis` with the fields `intent` and `resolved`, those that were resolved.',
              unit: 'percentunit',
            },
            THIRD,
            [
              {
                expr: `${rate('mkondo_calls_analysed_total', 'agent, intent', ',resolved="yes"')} / ${rate('mkondo_calls_analysed_total', 'agent, intent', ',resolved!="unknown"')}`,
                legend: '{{agent}} {{intent}}',
              },
            ],
          ),
          curves(
            { title: 'Greeting, p95', about: 'From the open stream to the first sound of the agent.', unit: SECONDS },
            THIRD,
            [{ expr: quantile(0.95, 'mkondo_greeting_seconds', 'agent'), legend: '{{agent}}' }],
          ),
          curves(
            {
              title: "The carrier's REST API",
              about:
                'Requests, and those that failed; calls that we placed, those of campaigns and call backs by result.',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_carrier_api_requests_total', 'result'), legend: 'requests {{result}}' },
              { expr: rate('mkondo_outbound_calls_total', 'result'), legend: 'outbound {{result}}' },
              { expr: rate('mkondo_campaign_tries_total', 'result'), legend: 'campaigns {{result}}' },
            ],
          ),
          curves(
            {
              title: 'Messages to receivers',
              about: 'Delivered, tried again, and tried no more (`mkondo messages list`); and those that wait.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: rate('mkondo_messages_total', 'result'), legend: '{{result}} a second' },
              { expr: `sum(mkondo_messages_waiting{${NODE}})`, legend: 'wait' },
              { expr: `sum(mkondo_messages_dead{${NODE}})`, legend: 'tried no more' },
              { expr: `max(mkondo_messages_oldest_seconds{${NODE}})`, legend: 'age of the oldest, s' },
              {
                expr: `sum(rate(mkondo_messages_faults_total{${NODE}}[$__rate_interval]))`,
                legend: 'not kept, a second',
              },
            ],
          ),
          curves(
            {
              title: 'Object storage',
              about:
                'Uploads, failures, what is read back, what an erasure makes unreadable; and what waits on the disk.',
              unit: 'short',
            },
            THIRD,
            [
              { expr: rate('mkondo_storage_objects_total', 'result'), legend: '{{result}} a second' },
              { expr: `sum(mkondo_storage_waiting{${NODE}})`, legend: 'wait' },
              { expr: `max(mkondo_storage_oldest_seconds{${NODE}})`, legend: 'age of the oldest, s' },
            ],
          ),
          curves(
            {
              title: 'Archive and recordings',
              about: 'Call records and handoff packets written, writes that failed, and files that retention deleted.',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_archive_documents_total', 'result'), legend: 'documents {{result}}' },
              { expr: `sum(rate(mkondo_archive_faults_total{${NODE}}[$__rate_interval]))`, legend: 'faults' },
              {
                expr: `sum(rate(mkondo_recording_lines_dropped_total{${NODE}}[$__rate_interval]))`,
                legend: 'journal lines lost',
              },
              { expr: rate('mkondo_archive_deleted_total', 'reason'), legend: 'deleted for {{reason}}' },
            ],
          ),
          curves(
            {
              title: 'Escalations',
              about:
                'By strategy and outcome; and calls to a human that were not begun, because of too many in a minute.',
              unit: 'cps',
            },
            THIRD,
            [
              { expr: rate('mkondo_escalations_total', 'strategy, outcome'), legend: '{{strategy}} {{outcome}}' },
              { expr: rate('mkondo_human_calls_refused_total', 'by'), legend: 'not begun, {{by}}' },
            ],
          ),
        ],
      },
      {
        title: 'SLOs',
        panels: [
          curves(
            {
              title: 'Error budget burn, calls',
              about: "At 1 the month's error budget lasts a month; 14.4 pages.",
              unit: 'short',
            },
            THIRD,
            [
              { expr: 'job:mkondo_calls:error_ratio_rate1h / 0.001', legend: '1 h' },
              { expr: 'job:mkondo_calls:error_ratio_rate5m / 0.001', legend: '5 min' },
            ],
          ),
          curves(
            { title: 'Error budget burn, first sound', about: '95 % of turns under 1.25 s.', unit: 'short' },
            THIRD,
            [
              { expr: 'job:mkondo_turn_response:slow_ratio_rate1h / 0.05', legend: '1 h' },
              { expr: 'job:mkondo_turn_response:slow_ratio_rate5m / 0.05', legend: '5 min' },
            ],
          ),
          table(
            {
              title: 'Slowest live calls',
              about: 'Last turn of each call on /metrics/calls, slowest first.',
              unit: SECONDS,
            },
            THIRD,
            { expr: `topk(20, mkondo_call_turn_response_last_seconds{${NODE}})`, legend: '' },
            {
              column: 'call_sid',
              title: 'Show this call',
              url: '/d/mkondo-call?var-call_sid=${__value.raw:percentencode}&${__url_time_range}',
            },
          ),
        ],
      },
    ],
  })
}
