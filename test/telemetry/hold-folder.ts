/** A process that takes a folder and keeps it until it is killed; it says `held` or why it could not. */
import { messageOf } from '../../src/core/errors.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'

try {
  await holdDataFolder(process.argv[2] ?? '')
  console.log('held')
  setInterval(() => undefined, 1000)
} catch (thrown) {
  console.log(messageOf(thrown))
}
