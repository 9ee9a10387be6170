/** What `npm start` promises: real sbots, an end by itself, and a summary that says whether all messages arrived. */
import { spawn } from 'child_process'
import { join } from 'path'

import test = require('tape')

const ROOT = join(__dirname, '..')

function run(args: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--require', 'tsx/cjs', 'src/demo/main.ts', ...args], { cwd: ROOT })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text: string) => {
        output += text
      })
    }
    child.on('close', (code) => resolve({ code, output }))
  })
}

test('npm start -- --seconds 20 ends by itself, with a summary and exit code 0', async (t) => {
  const { code, output } = await run(['--seconds', '20'])
  t.equal(code, 0, 'exit code')
  t.match(output, /all messages reached every peer that could be reached: 5 peers/, 'the summary')
  t.match(output, /frank, who is blocked, got nothing and was refused/, 'the blocked peer')
  t.match(output, /connected bob net:127\.0\.0\.1:\d+/, 'the peer with two routes, one of them dead')
  t.match(output, /failed erin .*ERR_DIAL_TIMEOUT/, 'the peer that hangs in the handshake')
  t.match(output, /failed dave .*ECONNREFUSED/, 'the peer that is down')
  t.match(output, /carol has gone[\s\S]*carol is back/, 'the peer that comes and goes')
  t.match(output, /^PEER +STATE +ROUTES +WHY NOT +NEXT +MESSAGES$/m, 'the table')
  t.match(output, /slots \(connected\+dialing\/max\)/, 'slots per class')
  t.notOk(output.includes('\x1b['), 'plain lines where the output is no terminal')
})

test('npm start says what is wrong with its arguments', async (t) => {
  const { code, output } = await run(['--seconds', 'soon'])
  t.equal(code, 2, 'exit code')
  t.match(output, /usage: npm start/, 'usage')
})
