/**
 * One of several gateway processes that the supervisor forks (`serve --processes`). All its settings come from the
 * `start` message, so that a restarted process has the same settings as the other processes. Before a roll, the
 * supervisor starts such a process only to read the settings.
 */
import { messageOf } from '../../core/errors.js'
import { createLog } from '../../telemetry/log.js'
import { hideEnvironment } from '../../config/hidden-environment.js'
import { agentEnvironment } from '../../gateway/agents/agent-environment.js'
import { exitCodeOf } from '../exit-codes.js'
import { startGateway } from '../../gateway/gateway.js'
import { ChannelStore } from '../../fleet/store/channel-store.js'
import type { FromProcess, ToProcess } from '../../fleet/supervisor.js'
import type { ProcessPlan } from '../../gateway/process-plan.js'
import { answerPlan } from './serve-plans.js'
import type { PlanRequest } from './serve-plans.js'
import { untilStopped } from './serve.js'

// The environment is hidden first, because MCP servers of other processes run on the same machine.
hideEnvironment()

// The callback ignores the error, because sending on a closed channel would otherwise throw. The `disconnect` event
// reports a closed channel.
const send = (message: FromProcess): void => {
  process.send?.(message, undefined, undefined, () => undefined)
}

async function run(plan: ProcessPlan, restarts: number): Promise<number> {
  const { index, config, ownPort } = plan
  const log = createLog({ ...config.logLevel, base: { process: index } })
  const channel = new ChannelStore(send)
  process.on('message', (message: ToProcess<ProcessPlan>) => {
    if (message.type !== 'start') channel.received(message)
  })
  const env = agentEnvironment(process.env, config)
  try {
    const gateway = await startGateway({ config, env, log, process: { plan, restarts, store: channel } })
    // If the supervisor is gone, this process lets its calls finish and then ends. It gets no more webhooks, and would
    // not be restarted.
    const orphaned = (): void => {
      channel.closed()
      log.error({}, 'the supervisor has ended: this process ends after its calls')
      void gateway.stop(config.drainTimeoutMs)
    }
    process.once('disconnect', orphaned)
    if (!process.connected) orphaned()
    log.info(
      {
        pid: process.pid,
        port: gateway.publicPort,
        own_port: ownPort,
        ops_port: gateway.opsPort,
        max_calls: config.maxCalls,
        media_workers: config.mediaWorkers,
      },
      'process takes calls',
    )
    const stopped = untilStopped(gateway, config.drainTimeoutMs, log)
    send({ type: 'ready', publicPort: gateway.publicPort, opsPort: gateway.opsPort, agents: gateway.agents })
    await stopped
    process.off('disconnect', orphaned)
    return 0
  } catch (thrown) {
    send({
      type: 'failed',
      message: messageOf(thrown),
      usage: exitCodeOf(thrown) === 2,
    })
    return 1
  }
}

process.once('message', (message: ToProcess<ProcessPlan> | PlanRequest) => {
  // If a signal goes to the whole process group, the supervisor handles it.
  process.on('SIGHUP', () => undefined)
  if (message.type === 'plan') {
    process.send?.(answerPlan(message))
    return
  }
  if (message.type !== 'start') throw new Error('the first message from the supervisor must have the type "start"')
  void run(message.plan, message.restarts).then((code) => {
    process.exitCode = code
    // An open channel would keep the process alive.
    if (process.connected) process.disconnect()
  })
})
