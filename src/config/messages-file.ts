import { GatewayError, messageOf } from '../core/errors.js'
import { messagesSchema, receiverOf } from '../messages/receivers.js'
import type { Receiver } from '../messages/receivers.js'
import { readYamlFile } from './yaml-file.js'

const FILE = {
  setting: 'MESSAGES_FILE',
  noun: 'a list of receivers',
  manual: 'docs/MESSAGES.md',
  schema: messagesSchema,
}

/**
 * Reads the receivers from MESSAGES_FILE: YAML or JSON.
 * @param env  environment with the secrets that the file names
 * @param hasNumbers  true if NUMBERS_FILE is set
 * @throws GatewayError CONFIG_INVALID with the file, the line and the allowed values, but without secrets
 */
export function readReceivers(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
  hasNumbers: boolean,
): readonly Receiver[] {
  const { receivers } = readYamlFile(path, FILE)
  return receivers.map((receiver) => {
    if (receiver.numbers !== undefined && !hasNumbers)
      throw new GatewayError(
        'CONFIG_INVALID',
        `${path}: the receiver ${receiver.name} has numbers, but NUMBERS_FILE is not set; allowed: numbers of NUMBERS_FILE`,
      )
    try {
      return receiverOf(receiver, env)
    } catch (thrown) {
      throw new GatewayError('CONFIG_INVALID', `${path}: ${messageOf(thrown)}`)
    }
  })
}
