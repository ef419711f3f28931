// A file job and an inline job with the unmodified JavaScript SDK. Prints one JSON object of what it saw.
//
//     node trip.mjs BASE_URL FOLDER

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { GoogleGenAI } from '@google/genai';

const [baseUrl, folder] = process.argv.slice(2);
const ai = new GoogleGenAI({ apiKey: 'any', vertexai: false, httpOptions: { baseUrl } });
const model = 'gemini-2.5-flash';

async function finished(job) {
  const ends = ['JOB_STATE_SUCCEEDED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED', 'JOB_STATE_EXPIRED'];
  while (!ends.includes(job.state)) {
    await new Promise((resume) => setTimeout(resume, 50));
    job = await ai.batches.get({ name: job.name });
  }
  return job;
}

async function downloaded(file, path) {
  await ai.files.download({ file, downloadPath: path });
  return await readFile(path, 'utf8');
}

const lines = ['request-1', 'request-2'].map((key) => ({
  key,
  request: { contents: [{ parts: [{ text: `Summarise: ${key} is about rain. It is wet.` }] }] },
}));
const input = join(folder, 'requests.jsonl');
await writeFile(input, lines.map((line) => JSON.stringify(line) + '\n').join(''));

const uploaded = await ai.files.upload({ file: input, config: { displayName: 'from-js', mimeType: 'jsonl' } });
const created = await ai.batches.create({ model, src: uploaded.name, config: { displayName: 'file-job' } });
const done = await finished(created);
const rows = (await downloaded(done.dest.fileName, join(folder, 'answers.jsonl'))).split('\n').filter(Boolean);

const contents = [{ role: 'user', parts: [{ text: 'Summarise: Snow falls. It is cold.' }] }];
const inline = await finished(await ai.batches.create({ model, src: [{ contents }], config: { displayName: 'inline-job' } }));

const slow = await ai.batches.create({ model, src: [{ contents }], config: { displayName: 'slow-job' } });
await ai.batches.cancel({ name: slow.name });
const cancelled = await ai.batches.get({ name: slow.name });

const listed = [];
for await (const job of await ai.batches.list({ config: { pageSize: 2 } })) listed.push(job.displayName);

await ai.batches.delete({ name: slow.name });
const left = [];
for await (const job of await ai.batches.list()) left.push(job.displayName);

console.log(
  JSON.stringify({
    uploaded: uploaded.displayName,
    created: created.state,
    done: done.state,
    rows: rows.map((row) => JSON.parse(row)).map(({ key, response }) => [key, response.candidates[0].content.parts[0].text]),
    inline: inline.dest.inlinedResponses.map(({ response }) => response.candidates[0].content.parts[0].text),
    cancelled: cancelled.state,
    listed,
    left,
  }),
);
