import {
  board,
  counts,
  curve,
  dots,
  halves,
  perSecond,
  quantile,
  quantiles,
  rate,
  rates,
  seconds,
  shares,
  thirds,
} from './panels.js'
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'

/** Matcher of the agent whose split the dashboard shows. */
const AGENT = ',agent=~"$agent"'

/** Rate of the agent's ended calls, summed over the labels in `by`. */
const ended = (by: string, more = ''): string => rate('mkondo_calls_total', by, AGENT + more)

/** Dashboard of the backends: split, latency, errors, failovers. */
export function backends(): DashboardBuilder {
  return board({
    uid: 'mkondo-backends',
    title: 'Mkondo: backends',
    about: 'Latency, errors and failovers by backend.',
    boxes: [{ name: 'agent', label: 'Agent of the split', value: '.*', about: 'A regular expression of names' }],
    rows: {
      Split: thirds(
        shares(
          'Calls by backend',
          'Ended calls of each backend, as shares of all ended calls.',
          curve(`${ended('backend')} / ignoring (backend) group_left ${ended('')}`, '{{backend}}'),
        ),
        shares(
          'Calls that succeeded',
          'Contained or escalated, as a share of the calls of the backend.',
          curve(
            `${ended('backend, outcome', ',outcome=~"contained|escalated"')} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{outcome}}',
          ),
        ),
        shares(
          'Calls that failed or were abandoned',
          'As a share of the calls of the backend.',
          curve(
            `${ended('backend, outcome', ',outcome=~"failed|abandoned"')} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{outcome}}',
          ),
        ),
        seconds(
          'First sound',
          "From the end of the caller's speech to the first sound sent.",
          curve(quantile(0.5, 'mkondo_turn_response_seconds', 'backend', AGENT), '{{backend}} p50'),
          curve(quantile(0.95, 'mkondo_turn_response_seconds', 'backend', AGENT), '{{backend}} p95'),
        ),
        counts(
          'Barge-ins and claims without a tool, per turn',
          'Interruptions by callers, and actions that the agent claimed and no tool did.',
          curve(
            `${rate('mkondo_barge_ins_total', 'backend', `${AGENT},committed="yes"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
            '{{backend}} barge-ins',
          ),
          curve(
            `${rate('mkondo_claims_total', 'backend', `${AGENT},verdict!="done"`)} / ${rate('mkondo_turn_response_seconds_count', 'backend', AGENT)}`,
            '{{backend}} claims',
          ),
        ),
        counts(
          'Cost of a call',
          'Known cost of the models, by backend.',
          curve(
            `${rate('mkondo_cost_total', 'backend, currency', AGENT)} / on (backend) group_left ${ended('backend')}`,
            '{{backend}} {{currency}}',
          ),
        ),
      ),
      Speed: thirds(
        seconds(
          'First sound by backend',
          "From the end of the caller's speech to the first sound sent.",
          quantiles(0.5, 'mkondo_turn_response_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_turn_response_seconds', 'backend', '{{backend}} p95')),
        ),
        seconds(
          'Answer by backend',
          'Time to the first sound that is not a filler. The difference to the first sound is the time of tools and model.',
          quantiles(0.5, 'mkondo_turn_answer_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_turn_answer_seconds', 'backend', '{{backend}} p95')),
        ),
        seconds(
          'Connection until ready',
          'The connection opens at the webhook. A caller does not notice a delay of less than a second.',
          quantiles(0.5, 'mkondo_backend_connect_seconds', 'backend', '{{backend}} p50'),
          dots(quantiles(0.95, 'mkondo_backend_connect_seconds', 'backend', '{{backend}} p95')),
        ),
      ),
      Errors: thirds(
        perSecond(
          'Errors by code',
          'auth and quota need an operator; rate_limit passes; the rest are faults of the service.',
          rates('mkondo_backend_errors_total', 'backend, code'),
        ),
        perSecond(
          'Failovers',
          'Calls that moved to another backend during the call.',
          rates('mkondo_backend_failovers_total', 'from, to', '{{from}} to {{to}}'),
        ),
        seconds(
          'Failover gap, p95',
          'From the loss of the old backend until the new one is ready.',
          dots(quantiles(0.95, 'mkondo_backend_failover_gap_seconds', 'to', 'to {{to}}')),
        ),
        shares(
          'Rate limits remaining',
          'Share of the rate limit that remains, as the service last reported it. Near 0, new calls use the next backend of the list.',
          curve('min by (backend, limit) (mkondo_backend_rate_limit_left_ratio)', '{{backend}} {{limit}}'),
        ),
        shares(
          'Heard share of claimed speech',
          'Speech that callers could hear, as a share of the speech that the sound and words of turns claim. With usual pauses it is 0.6 or more. gateway: phrases of the gateway itself.',
          curve(
            `${rate('mkondo_agent_speech_heard_seconds_total', 'agent, backend')} / ${rate('mkondo_agent_speech_claimed_seconds_total', 'agent, backend')}`,
            '{{agent}} {{backend}}',
          ),
        ),
        perSecond(
          'Silent turns',
          'Turns of a second or more of which callers heard less than a fifth.',
          curve(rate('mkondo_agent_turns_total', 'agent, backend', ',heard="no"'), '{{agent}} {{backend}}'),
        ),
        perSecond(
          'Answers that were stopped',
          'Answers in which the model only called tools: after tools were withheld, too often in one turn, or too often in a minute.',
          curve(
            rate('mkondo_backend_irregular_total', 'backend, kind', ',kind=~"answersBounded.+"'),
            '{{backend}} {{kind}}',
          ),
        ),
        perSecond(
          'Look-ups of names',
          'failed and timed-out: no connection was made. stale: the resolver fails, and the last answer was used.',
          rates('mkondo_name_lookups_total', 'result'),
        ),
        counts(
          'Errors per turn',
          'Callers notice values above 0.05.',
          curve(
            `${rate('mkondo_backend_errors_total', 'backend')} / ${rate('mkondo_turn_response_seconds_count', 'backend')}`,
            '{{backend}}',
          ),
        ),
      ),
      Load: halves(
        perSecond(
          'Turns answered',
          'By agent and backend.',
          rates('mkondo_turn_answer_seconds_count', 'agent, backend'),
        ),
        seconds(
          'Tools, p95',
          'A slow tool delays the answer of any backend.',
          quantiles(0.95, 'mkondo_tool_seconds', 'tool, outcome'),
        ),
      ),
      Cost: halves(
        counts(
          'Cost by agent and backend',
          'Per day at the current rate.',
          curve(
            `86400 * ${rate('mkondo_cost_total', 'agent, backend, currency')}`,
            '{{agent}} {{backend}} {{currency}}',
          ),
        ),
        counts(
          'Cost by model',
          'Cost by model. The models of a cascade are its services.',
          curve(
            `86400 * ${rate('mkondo_cost_total', 'backend, model, currency')}`,
            '{{backend}} {{model}} {{currency}}',
          ),
        ),
        counts(
          'Cost per call',
          'Known cost, divided by all calls of the agent.',
          curve(
            `${rate('mkondo_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_total', 'agent')}`,
            '{{agent}} {{currency}}',
          ),
        ),
        counts(
          'Cost per resolved call',
          'Known cost of carrier, models and analysis of all calls, divided by the resolved calls. A call is resolved by its analysis, or if it was contained and the caller got an answer or a result.',
          curve(
            `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_analysed_total', 'agent', ',resolved="yes"')}`,
            '{{agent}} {{currency}} resolved',
          ),
          curve(
            `${rate('mkondo_call_cost_total', 'agent, currency')} / on (agent) group_left ${rate('mkondo_calls_served_total', 'agent', ',outcome="contained",served=~"answered|done"')}`,
            '{{agent}} {{currency}} contained',
          ),
        ),
        counts(
          'Cost of calls',
          'Per day at the current rate, by carrier, models and analysis.',
          curve(
            `86400 * ${rate('mkondo_call_cost_total', 'agent, part, currency')}`,
            '{{agent}} {{part}} {{currency}}',
          ),
        ),
        perSecond(
          'Calls with a part of unknown cost',
          'The cost figures are too low: add a price, a rate or an exchange rate to PRICES_FILE.',
          rates('mkondo_call_cost_unknown_total', 'agent, part'),
        ),
        counts(
          'Canaries',
          'Stopped: the calls of the canary were worse than the other calls of the agent, and it gets no more calls.',
          curve('max by (state) (mkondo_canaries)', '{{state}}'),
        ),
        counts(
          'Numbers by their daily budget',
          'Numbers with a budget, by its effect: none, the cheaper backend, or only messages.',
          curve('max by (step) (mkondo_budget_numbers)', '{{step}}'),
        ),
        counts(
          'Differences from the bills of vendors',
          'Figures of each model in the file that mkondo cost reconcile compared last. More than 0: the records and the vendor disagree.',
          curve('max by (model) (mkondo_usage_differences)', '{{model}}'),
        ),
        perSecond(
          'Calls of unknown cost',
          'A model has no price: add it to PRICES_FILE.',
          rates('mkondo_cost_unknown_calls_total', 'agent, backend, model'),
        ),
        shares(
          'Input from the prompt cache',
          'Share of the input tokens of models. It is low if instructions or tools change between requests.',
          curve(
            `${rate('mkondo_model_input_tokens_total', 'agent, backend', ',cache="read"')} / ${rate('mkondo_model_input_tokens_total', 'agent, backend')}`,
            '{{agent}} {{backend}}',
          ),
        ),
      ),
    },
  })
}
