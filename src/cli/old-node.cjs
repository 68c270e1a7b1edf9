/*
 * Ends with a one-line message if this Node is too old to parse the other files. The syntax is ES5, which every Node
 * can parse.
 */
var version = process.versions.node.split('.').map(Number)
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  console.error(
    'mkondo: this is Node ' +
      process.versions.node +
      ', and Mkondo needs Node 20.19, 22 or 24; type npx -y -p node@22 before each command, such as: npx -y -p node@22 npm ci',
  )
  process.exit(1)
}
