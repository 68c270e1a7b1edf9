import {
  NODE,
  board,
  counts,
  curve,
  dots,
  gauge,
  gauges,
  halves,
  number,
  perSecond,
  quantiles,
  quarters,
  rate,
  rates,
  requests,
  seconds,
  shares,
  table,
  thirds,
  total,
} from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** All nodes together: is the line well, and if not, where to look next. */
export function fleet(): DashboardBuilder {
  return board({
    uid: 'mkondo-fleet',
    title: 'Mkondo: fleet',
    about: 'All gateways: calls, refusals, latencies, barge-ins.',
    rows: {
      Now: [
        number('Live calls', 'Calls that hold a slot.', 'short', `sum(mkondo_calls_live{${NODE}})`),
        number(
          'Remaining capacity',
          'How many more calls the fleet can take.',
          'short',
          `sum(mkondo_call_capacity_remaining{${NODE}})`,
        ),
        number(
          'Refused, 15 min',
          'Calls and sockets that were refused.',
          'short',
          `sum(increase(mkondo_calls_refused_total{${NODE}}[15m]))`,
          { amber: 1, red: 10 },
        ),
        number(
          'Failed, 1 h',
          'Share of ended calls that failed in the gateway or a backend.',
          'percentunit',
          `sum(rate(mkondo_calls_total{${NODE},outcome="failed"}[1h])) / sum(rate(mkondo_calls_total{${NODE}}[1h]))`,
          { amber: 0.001, red: 0.01 },
        ),
        number(
          'Answer, p95',
          'Caller stopped to first agent sound that is not a filler.',
          's',
          `histogram_quantile(0.95, sum by (le) (rate(mkondo_turn_answer_seconds_bucket{${NODE}}[15m])))`,
          { amber: 1.25, red: 2 },
        ),
        number('Draining', 'Nodes that accept no new calls.', 'short', `sum(mkondo_draining{${NODE}})`),
      ],
      Calls: thirds(
        counts(
          'Live calls and remaining capacity',
          'By node. Without remaining capacity calls are refused.',
          gauge('mkondo_calls_live', '{{instance}} live'),
          gauge('mkondo_call_capacity_remaining', '{{instance}} remaining'),
        ),
        perSecond('Calls ended', 'By outcome.', rates('mkondo_calls_total', 'outcome')),
        perSecond(
          'Calls ended, by reason',
          'Shows whether failed calls come from the carrier or from the gateway.',
          rates('mkondo_call_ends_total', 'reason'),
        ),
        perSecond(
          'Refusals',
          'Calls that got words in place of an agent, and sockets that were not opened. GET /api/refusals lists them; refused calls have records.',
          rates('mkondo_calls_refused_total', 'reason'),
          total('mkondo_refused_records_dropped_total', 'without a record'),
        ),
        perSecond(
          'Calls by sample rate',
          'Calls opened at 8 and 16 kHz, and numbers whose line was forgotten early (outputSamplingRate: auto).',
          rates('mkondo_legs_total', 'rate', '{{rate}} Hz'),
          total('mkondo_lines_forgotten_total', 'forgotten'),
        ),
        seconds(
          'Webhook answer, p95',
          'Received to answered; the carrier times out after seconds.',
          quantiles(0.95, 'mkondo_webhook_seconds', 'route'),
        ),
        requests(
          'Webhooks rejected',
          'Unsigned, stale, malformed or rate-limited; and accepted for the token in the URL alone.',
          rates('mkondo_webhook_rejected_total', 'reason'),
          rates('mkondo_webhooks_token_only_total', 'route', 'accepted by token: {{route}}'),
        ),
        requests(
          'Answers cut off',
          'Answers of both ports that their readers did not take, or that were not sent whole, by why.',
          rates('mkondo_replies_cut_total', 'why'),
        ),
        counts(
          'Strangers cut off',
          'Connections closed because of unproven requests, and the share of the time that such requests take.',
          rates('mkondo_unproven_closed_total', 'why', '{{why}} a second'),
          rates('mkondo_unproven_work_seconds_total', '', 'share of a thread'),
        ),
        seconds(
          'Stream set-up, p95',
          'From the answered webhook to the first audio of the carrier.',
          quantiles(0.95, 'mkondo_stream_setup_seconds', '', 'p95'),
        ),
      ),
      Nodes: [
        ...thirds(
          counts(
            'Calls by owner',
            'Live calls of each node, and its maximum. A cordoned or draining node gets no new calls.',
            gauge('mkondo_calls_live', '{{instance}} live'),
            gauge('mkondo_call_capacity', '{{instance}} capacity'),
          ),
          counts(
            'Nodes by state',
            'As the nodes see each other; differing curves mean that they disagree. `mkondo fleet` has the names.',
            gauges('max', 'mkondo_nodes', 'state', 'most {{state}}'),
            gauges('min', 'mkondo_nodes', 'state', 'least {{state}}'),
          ),
          counts(
            'Not ready',
            'Nodes whose /readyz answers 503, by reason.',
            gauges('sum', 'mkondo_not_ready', 'reason'),
          ),
        ),
        ...quarters(
          counts(
            'Store',
            '1 while a node reaches the store that all share. Without it no call of a lost node is taken over.',
            gauge('mkondo_store_up', '{{instance}}'),
          ),
          perSecond('Store operations', 'By outcome.', rates('mkondo_store_operations_total', 'outcome')),
          seconds(
            'Store operations, p99',
            'Each may take 250 ms; after that, calls continue without it.',
            quantiles(0.99, 'mkondo_store_seconds', 'op'),
          ),
          requests(
            'Webhooks routed',
            'Webhooks that were not answered by the node that received them. Unanswered and orphaned ones: a node is lost.',
            rates('mkondo_webhooks_routed_total', 'result'),
          ),
          requests(
            'Requests between nodes',
            'Sent, by result, and those that the internal port refused.',
            rates('mkondo_peer_requests_total', 'result'),
            rates('mkondo_peer_requests_refused_total', 'reason', 'refused: {{reason}}'),
          ),
          perSecond(
            'Takeovers and conflicts',
            'Nodes and calls taken over, by evidence; entries of Redis that were not believed, and what it lost; calls given up, by reason; writes that came too late; calls opened while the store was down, which are claimed when it is back.',
            rates('mkondo_takeovers_total', 'evidence', 'taken over: {{evidence}}'),
            rates('mkondo_store_ignored_total', 'what', 'not believed: {{what}}'),
            rates('mkondo_store_lost_total', 'what', 'lost by Redis: {{what}}'),
            rates('mkondo_calls_given_up_total', 'why', 'given up: {{why}}'),
            total('mkondo_store_conflicts_total', 'conflicts'),
            total('mkondo_calls_unclaimed_total', 'unclaimed'),
          ),
          perSecond(
            'Calls of lost nodes and streams',
            'Outcome of calls whose node was lost; streams that the carrier could not open, offered again.',
            rates('mkondo_calls_recovered_total', 'result'),
            total('mkondo_streams_offered_again_total', 'stream offered again'),
          ),
          perSecond(
            'Calls kept for other nodes',
            'Writes of the state of live calls, by result; parts that are missing, by part; results of tools that could not be stored.',
            rates('mkondo_kept_call_writes_total', 'result'),
            rates('mkondo_kept_call_losses_total', 'what', 'missing: {{what}}'),
            total('mkondo_effect_results_lost_total', 'results lost'),
            total('mkondo_verification_attempts_unshared_total', 'verification attempts unshared'),
          ),
        ),
      ],
      'Latency and barge-in': [
        ...halves(
          seconds(
            'First sound',
            "Caller's last voiced sample to the first sound sent, filler or not. Dots are calls.",
            quantiles(0.5, 'mkondo_turn_response_seconds', '', 'p50'),
            dots(quantiles(0.95, 'mkondo_turn_response_seconds', '', 'p95')),
            quantiles(0.99, 'mkondo_turn_response_seconds', '', 'p99'),
          ),
          seconds(
            'Answer',
            "Caller's last voiced sample to the first sound that is not a filler.",
            quantiles(0.5, 'mkondo_turn_answer_seconds', '', 'p50'),
            dots(quantiles(0.95, 'mkondo_turn_answer_seconds', '', 'p95')),
            quantiles(0.99, 'mkondo_turn_answer_seconds', '', 'p99'),
          ),
        ),
        ...thirds(
          seconds(
            'Caller-perceived latency, p95',
            'First sound and answer as the caller hears them; agents with stereo forks only.',
            dots(quantiles(0.95, 'mkondo_turn_response_ear_seconds', '', 'first sound')),
            quantiles(0.95, 'mkondo_turn_answer_ear_seconds', '', 'answer'),
          ),
          seconds(
            'Barge-in stop',
            'First voiced sample of a committed barge-in to the last agent sample sent.',
            quantiles(0.5, 'mkondo_barge_in_stop_seconds', '', 'p50'),
            dots(quantiles(0.95, 'mkondo_barge_in_stop_seconds', '', 'p95')),
          ),
          perSecond(
            'Barge-ins',
            'Callers who spoke over the agent; those not committed were false interruptions.',
            rates('mkondo_barge_ins_total', 'committed', 'committed {{committed}}'),
          ),
        ),
      ],
      Causes: thirds(
        seconds(
          'Tick lateness, p99',
          'A media worker whose ticks are late has too many calls or too little CPU.',
          quantiles(0.99, 'mkondo_tick_lateness_seconds', 'instance, worker', '{{instance}} worker {{worker}}'),
        ),
        perSecond('Backend errors', 'By backend and code.', rates('mkondo_backend_errors_total', 'backend, code')),
        perSecond(
          'Failovers',
          'Calls that moved to another backend during the call.',
          rates('mkondo_backend_failovers_total', 'from, to', '{{from}} to {{to}}'),
        ),
        seconds(
          'Tools, p95',
          'Duration of tool calls, which is that of your APIs.',
          dots(quantiles(0.95, 'mkondo_tool_seconds', 'tool')),
        ),
        seconds(
          'Tools that wait',
          'Time to the outcome of tools that wait, p95, by outcome.',
          quantiles(0.95, 'mkondo_tool_wait_seconds', 'tool, outcome'),
        ),
        counts(
          'Tools whose outcome is not known yet',
          'Tool calls that wait, those whose caller has left included.',
          gauges('sum', 'mkondo_tool_waits_pending', 'instance'),
        ),
        perSecond(
          'Outcomes of tools that wait',
          'Posts to continuation URLs and polls, by result. Conflicts are two outcomes of one request.',
          rates('mkondo_tool_continuations_total', 'result', 'posted: {{result}}'),
          rates('mkondo_tool_polls_total', 'result', 'polled: {{result}}'),
        ),
        perSecond(
          'MCP servers',
          'How often servers of tools went up and down or changed their list, and attempts to connect that failed.',
          rates('mkondo_mcp_server_events_total', 'agent, server, event'),
          rates('mkondo_mcp_connect_failures_total', 'agent, server', '{{agent}} {{server}} not reached'),
        ),
        counts(
          'Listeners',
          'Operators who listen to live calls, and tenths of a second that slow ones lose in each second.',
          gauges('sum', 'mkondo_listeners', 'instance'),
          rates('mkondo_listen_messages_dropped_total', 'instance', '{{instance}} lost'),
        ),
        perSecond('Tools by outcome', 'Tool calls, by outcome.', rates('mkondo_tool_seconds_count', 'tool, outcome')),
        perSecond(
          'Claims that nothing supports',
          'Actions that agents claimed and no tool call did, by tool and by verdict, and numbers, prices and weekdays that nothing gave them (no-source).',
          curve(
            rate('mkondo_claims_total', 'agent, tool, verdict', ',verdict!="done"'),
            '{{agent}} {{tool}} {{verdict}}',
          ),
        ),
        perSecond(
          'Where calls end',
          'Ended calls by the stage that they were in; agents without stages are not in it.',
          rates('mkondo_stage_ends_total', 'agent, stage, outcome'),
        ),
        shares(
          'Calls resolved, by intent',
          'Of the ended calls whose agents have `analysis` with the fields `intent` and `resolved`, those that were resolved.',
          curve(
            `${rate('mkondo_calls_analysed_total', 'agent, intent', ',resolved="yes"')} / ${rate('mkondo_calls_analysed_total', 'agent, intent', ',resolved!="unknown"')}`,
            '{{agent}} {{intent}}',
          ),
        ),
        seconds(
          'Greeting, p95',
          'From the open stream to the first sound of the agent.',
          quantiles(0.95, 'mkondo_greeting_seconds', 'agent'),
        ),
        perSecond(
          "The carrier's REST API",
          'Requests, and those that failed; calls that we placed, those of campaigns and call backs by result.',
          rates('mkondo_carrier_api_requests_total', 'result', 'requests {{result}}'),
          rates('mkondo_outbound_calls_total', 'result', 'outbound {{result}}'),
          rates('mkondo_campaign_tries_total', 'result', 'campaigns {{result}}'),
        ),
        counts(
          'Messages to receivers',
          'Delivered, tried again, and tried no more (`mkondo messages list`); and those that wait.',
          rates('mkondo_messages_total', 'result', '{{result}} a second'),
          gauges('sum', 'mkondo_messages_waiting', '', 'wait'),
          gauges('sum', 'mkondo_messages_dead', '', 'tried no more'),
          gauges('max', 'mkondo_messages_oldest_seconds', '', 'age of the oldest, s'),
          total('mkondo_messages_faults_total', 'not kept, a second'),
        ),
        counts(
          'Object storage',
          'Uploads, failures, what is read back, what an erasure makes unreadable; and what waits on the disk.',
          rates('mkondo_storage_objects_total', 'result', '{{result}} a second'),
          gauges('sum', 'mkondo_storage_waiting', '', 'wait'),
          gauges('max', 'mkondo_storage_oldest_seconds', '', 'age of the oldest, s'),
        ),
        perSecond(
          'Archive and recordings',
          'Call records and handoff packets written, writes that failed, and files that retention deleted.',
          rates('mkondo_archive_documents_total', 'result', 'documents {{result}}'),
          total('mkondo_archive_faults_total', 'faults'),
          total('mkondo_recording_lines_dropped_total', 'journal lines lost'),
          rates('mkondo_archive_deleted_total', 'reason', 'deleted for {{reason}}'),
        ),
        perSecond(
          'Escalations',
          'By strategy and outcome; and calls to a human that were not begun, because of too many in a minute.',
          rates('mkondo_escalations_total', 'strategy, outcome'),
          rates('mkondo_human_calls_refused_total', 'by', 'not begun, {{by}}'),
        ),
      ),
      SLOs: thirds(
        counts(
          'Error budget burn, calls',
          "At 1 the month's error budget lasts a month; 14.4 pages.",
          curve('job:mkondo_calls:error_ratio_rate1h / 0.001', '1 h'),
          curve('job:mkondo_calls:error_ratio_rate5m / 0.001', '5 min'),
        ),
        counts(
          'Error budget burn, first sound',
          '95 % of turns under 1.25 s.',
          curve('job:mkondo_turn_response:slow_ratio_rate1h / 0.05', '1 h'),
          curve('job:mkondo_turn_response:slow_ratio_rate5m / 0.05', '5 min'),
        ),
        table(
          'Slowest live calls',
          'Last turn of each call on /metrics/calls, slowest first.',
          's',
          curve(`topk(20, mkondo_call_turn_response_last_seconds{${NODE}})`, ''),
          {
            column: 'call_sid',
            title: 'Show this call',
            url: '/d/mkondo-call?var-call_sid=${__value.raw:percentencode}&${__url_time_range}',
          },
        ),
      ),
    },
  })
}
