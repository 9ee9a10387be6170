#!/usr/bin/env node
/** The command line `sbot-connections`: parses arguments, and runs the command that they name. */
import { Command } from 'commander'

void new Command('sbot-connections').parseAsync()
