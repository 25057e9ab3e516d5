import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Root of the repository. */
export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url))

/** What a script printed and how it ended. */
export interface ScriptResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Runs a file as a user would: TypeScript against the library's sources, or what `compiled` made of both. Kills it at the
 * deadline. It writes no coverage, which takes seconds for each: what it covers the specs cover.
 *
 * @param onDone - called when the script sends a message, with what to call to send it one
 */
export function runScript(
  file: string,
  timeoutMs: number,
  env: NodeJS.ProcessEnv = {},
  args: readonly string[] = [],
  onDone?: (goOn: () => void) => void
): Promise<ScriptResult> {
  return new Promise((resolve, reject) => {
    const loader = file.endsWith('.ts') ? ['--import', 'tsx/esm', '--conditions=kilovolt-source'] : []
    const child = spawn(process.execPath, [...loader, '--enable-source-maps', file, ...args], {
      cwd: ROOT,
      env: { ...process.env, NODE_V8_COVERAGE: '', ...env },
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      stdio: onDone === undefined ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'pipe', 'pipe', 'ipc']
    })
    child.once('message', () => onDone?.(() => child.send('go on', () => {})))
    let stdout = ''
    let stderr = ''
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
}
