/**
 * One gateway process of several: what the supervisor forks (`serve --processes`). It gets everything from the `start`
 * message, so that one that is started again has the very settings of its siblings.
 */
import { GatewayError, messageOf } from '../core/errors.js'
import { createLog } from '../telemetry/log.js'
import { agentEnvironment } from '../gateway/agent-environment.js'
import { USAGE_CODES } from './exit-codes.js'
import { startGateway } from '../gateway/gateway.js'
import { ProcessLink } from './process-link.js'
import type { FromProcess, ToProcess } from './process-messages.js'
import { untilStopped } from './stop-signals.js'

// Without a callback a channel that has closed would throw; its end is heard of as `disconnect`.
const send = (message: FromProcess): void => { process.send?.(message, undefined, undefined, () => undefined) }

async function run({ plan, restarts, places }: Extract<ToProcess, { type: 'start' }>): Promise<number> {
  const { index, count, config, ownPort } = plan
  const log = createLog({ ...config.logLevel, base: { process: index } })
  const link = new ProcessLink({ index, count, places, send })
  process.on('message', (message: ToProcess) => { if (message.type !== 'start') link.receive(message) })
  const env = agentEnvironment(process.env, config.shopApiUrl)
  try {
    const gateway = await startGateway({ config, env, log, place: { siblings: link, ownPort, restarts } })
    // Nobody would pass webhooks on any more, nor start this process again: what it has may end.
    const orphaned = (): void => {
      link.close()
      log.error({}, 'the supervisor is gone: calls finish, and this process ends')
      void gateway.stop(config.drainTimeoutMs)
    }
    process.once('disconnect', orphaned)
    if (!process.connected) orphaned()
    log.info({ pid: process.pid, port: gateway.publicPort, own_port: ownPort, ops_port: gateway.opsPort, max_calls: config.maxCalls, media_workers: config.mediaWorkers }, 'process takes calls')
    send({ type: 'ready', publicPort: gateway.publicPort, opsPort: gateway.opsPort, agents: gateway.agents })
    await untilStopped(gateway, config.drainTimeoutMs, log)
    process.off('disconnect', orphaned)
    return 0
  } catch (thrown) {
    send({ type: 'failed', message: messageOf(thrown), usage: thrown instanceof GatewayError && USAGE_CODES.has(thrown.code) })
    return 1
  }
}

process.once('message', (message: ToProcess) => {
  if (message.type !== 'start') throw new Error('the first message of a supervisor is start')
  void run(message).then((code) => {
    process.exitCode = code
    // The channel would keep the process.
    if (process.connected) process.disconnect()
  })
})
