/** Reads help() as the command line does (muxrpc-usage). */
import type { Command, Help } from '../../src/shell/help'

/** All commands by the names that one types, groups and all. */
export function commandsOf(help: Help): { readonly [name: string]: Command } {
  const found: { [name: string]: Command } = {}
  for (const [name, each] of Object.entries(help.commands)) {
    if ('commands' in each)
      for (const [inner, command] of Object.entries(commandsOf(each))) found[`${name}.${inner}`] = command
    else found[name] = each
  }
  return found
}
