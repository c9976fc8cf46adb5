import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Streams a chat by each of Java's two HTTP clients, and writes what comes as it comes. */
public class Chat {
    static final String CHAT = "https://api.openai.com/v1/chat/completions";
    static final String BODY =
        "{\"model\": \"gpt-4o-mini\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}";

    public static void main(String[] arguments) throws Exception {
        String key = "Bearer " + arguments[0];
        HttpRequest request = HttpRequest.newBuilder(URI.create(CHAT))
            .header("Authorization", key)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(BODY))
            .build();
        copy(HttpClient.newHttpClient().send(request, BodyHandlers.ofInputStream()).body());

        HttpURLConnection connection = (HttpURLConnection) new URL(CHAT).openConnection();
        connection.setDoOutput(true);
        connection.setRequestProperty("Authorization", key);
        connection.setRequestProperty("Content-Type", "application/json");
        connection.getOutputStream().write(BODY.getBytes());
        copy(connection.getInputStream());
    }

    static void copy(InputStream from) throws IOException {
        byte[] buffer = new byte[4096];
        for (int count; (count = from.read(buffer)) >= 0;) {
            System.out.write(buffer, 0, count);
            System.out.flush();
        }
    }
}
