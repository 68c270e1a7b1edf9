/**
 * A process that takes a folder and keeps it until it is killed; it says `held` or why it could not. As another user where
 * it is given one: it becomes that user once it has loaded, because that user may not be able to read these files.
 */
import { messageOf } from '../../src/core/errors.js'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'

const [, , folder = '', uid] = process.argv
if (uid !== undefined) process.setuid?.(Number(uid))
try {
  await holdDataFolder(folder)
  console.log('held')
  setInterval(() => undefined, 1000)
} catch (thrown) {
  console.log(messageOf(thrown))
}
