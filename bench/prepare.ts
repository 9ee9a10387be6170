/** Writes a table as our plugin stores it into a folder, in a process of its own: `prepare.js FOLDER ROUTES`. */
import { prepareFolder } from './managers/ours'

const [folder = '', routes = ''] = process.argv.slice(2)

prepareFolder(folder, Number(routes), 'usual').then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  },
)
