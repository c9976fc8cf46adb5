# Streams a chat by Ruby's net/http, and writes what comes as it comes.
require 'net/http'

url = URI('https://api.openai.com/v1/chat/completions')
request = Net::HTTP::Post.new(url, 'Authorization' => "Bearer #{ARGV[0]}", 'Content-Type' => 'application/json')
request.body = '{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
$stdout.sync = true
Net::HTTP.start(url.host, url.port, use_ssl: true) do |http|
  http.request(request) { |reply| reply.read_body { |piece| $stdout.write(piece) } }
end
